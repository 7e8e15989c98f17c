// Events (core/v1) of what concerns a pod or a node, bounded in number and rate: the same thing again is the same Event
// with a higher count, as `kubectl describe` shows it. Pure: time and randomness are given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::kube {

// What an Event is about.
struct EventObject {
  std::string kind;  // "Pod" or "Node"
  std::string namespace_name;
  std::string name;
  std::string uid;

  auto operator<=>(const EventObject&) const = default;
};

// A request to the API server.
struct EventRequest {
  std::uint64_t number = 0;  // for EventTable::answered()
  std::string method;        // POST: a new one, PATCH: one that is there (JSON merge patch, RFC 7386)
  std::string path;
  std::string content_type;
  std::string body;
};

class EventTable {
 public:
  static constexpr std::size_t max_events = 2048;
  static constexpr std::size_t max_events_of_one = 16;  // object; what else it does is told in one more

  // `component` and `host` are the Events' source; `prefix` keeps their names apart from those of other processes.
  EventTable(std::string component, std::string host, std::uint64_t prefix)
      : component_(std::move(component)), host_(std::move(host)), prefix_(prefix) {}

  // `reason` is a word in CamelCase, `message` a sentence of at most 1,024 bytes, longer ones are cut; `what` says in
  // short what is the same again. `count`: so many times at once.
  void add(const EventObject& about, std::string_view reason, const std::string& what, std::string message,
           std::uint64_t count, std::uint64_t now_ns);

  // The next to be sent at `now_ns`, monotonic, with the time of the day `wall_ns`: at most ten a second, none of the
  // same Event within ten seconds, the one that waits longest first; empty: nothing is due. Until it was answered
  // nothing else is.
  std::vector<EventRequest> next(std::uint64_t now_ns, std::int64_t wall_ns);
  // Whether the request was done, and `gone`: whether the Event that was to be patched is not there any more. What was
  // not done comes again.
  void answered(std::uint64_t number, bool done, bool gone);

  // Things that found no place, since the beginning.
  std::uint64_t dropped() const { return dropped_; }
  std::size_t size() const { return events_.size(); }

 private:
  struct Key {
    EventObject about;
    std::string reason;
    std::string what;

    auto operator<=>(const Key&) const = default;
  };
  struct Event {
    std::string message;
    std::string name;            // of the Event; empty: it is not there yet
    std::string first_time;      // of what is there
    std::uint64_t count = 0;     // all
    std::uint64_t told = 0;      // of them, to the API server
    std::uint64_t since_ns = 0;  // waits
    std::uint64_t sent_ns = 0;   // 0: never
    std::uint64_t number = 0;    // of the request under way; 0: none
    std::uint64_t sending = 0;   // the count in it
  };

  void forget_old(std::uint64_t now_ns);
  EventRequest request_for(const Key& key, Event& event, std::int64_t wall_ns);

  const std::string component_;
  const std::string host_;
  const std::uint64_t prefix_;
  std::map<Key, Event> events_;
  std::map<EventObject, std::size_t> of_one_;
  std::uint64_t last_number_ = 0;
  std::uint64_t next_ns_ = 0;  // when the next request may be made
  std::uint64_t dropped_ = 0;
};

}  // namespace sluice::kube
