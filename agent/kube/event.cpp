#include "kube/event.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "base/clock.h"

namespace sluice::kube {
namespace {

namespace json = boost::json;

constexpr std::uint64_t request_gap_ns = 100'000'000;
constexpr std::uint64_t same_gap_ns = 10'000'000'000;
constexpr std::uint64_t forget_ns = 600'000'000'000;  // as `kubectl` counts: later it is another Event
constexpr std::size_t max_message_bytes = 1024;
constexpr std::size_t max_name_bytes = 200;  // of the object, in the Event's name

// metav1.Time: RFC 3339 in whole seconds.
std::string time_text(std::int64_t wall_ns) {
  std::string text;
  append_time(text, wall_ns);
  return text.substr(0, text.find('.')) + "Z";
}

// Events of what has no namespace are in "default".
std::string_view namespace_of(const EventObject& about) {
  return about.namespace_name.empty() ? std::string_view("default") : std::string_view(about.namespace_name);
}

// Never within a character of UTF-8.
void cut(std::string& text, std::size_t size) {
  if (text.size() <= size) return;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0U) == 0x80U) --size;
  text.resize(size);
}

}  // namespace

void EventTable::add(const EventObject& about, std::string_view reason, const std::string& what, std::string message,
                     std::uint64_t count, std::uint64_t now_ns) {
  Key key{about, std::string(reason), what};
  auto found = events_.find(key);
  if (found == events_.end()) {
    auto& of_one = of_one_[about];
    if (of_one >= max_events_of_one) {
      key.what.clear();
      message = "further ones; the audit log has them all";
      found = events_.find(key);
    }
    if (found == events_.end()) {
      // One more than `max_events_of_one` for each reason, of which there are few.
      if (events_.size() >= max_events) {
        dropped_ += count;
        if (of_one == 0) of_one_.erase(about);
        return;
      }
      ++of_one;
      found = events_.emplace(std::move(key), Event{}).first;
    }
  }
  auto& event = found->second;
  if (event.count == event.told) event.since_ns = now_ns;
  event.count += count;
  cut(message, max_message_bytes);
  event.message = std::move(message);
}

std::vector<EventRequest> EventTable::next(std::uint64_t now_ns, std::int64_t wall_ns) {
  forget_old(now_ns);
  if (now_ns < next_ns_) return {};
  std::pair<const Key, Event>* first = nullptr;
  for (auto& one : events_) {
    const auto& event = one.second;
    if (event.number != 0) return {};
    const bool due = event.count != event.told && (event.sent_ns == 0 || now_ns >= event.sent_ns + same_gap_ns);
    if (due && (first == nullptr || event.since_ns < first->second.since_ns)) first = &one;
  }
  if (first == nullptr) return {};
  next_ns_ = now_ns + request_gap_ns;
  first->second.sent_ns = now_ns;
  return {request_for(first->first, first->second, wall_ns)};
}

EventRequest EventTable::request_for(const Key& key, Event& event, std::int64_t wall_ns) {
  const auto path = fmt::format("/api/v1/namespaces/{}/events", namespace_of(key.about));
  event.number = ++last_number_;
  event.sending = event.count;
  const auto now = time_text(wall_ns);
  if (!event.name.empty()) {
    const json::object patch{{"count", event.count}, {"lastTimestamp", now}, {"message", event.message}};
    return {event.number, "PATCH", fmt::format("{}/{}", path, event.name), "application/merge-patch+json",
            json::serialize(patch)};
  }
  event.first_time = now;
  auto name = key.about.name;
  cut(name, max_name_bytes);
  name += fmt::format(".{:016x}", prefix_ + event.number);
  json::object involved{{"apiVersion", "v1"}, {"kind", key.about.kind}, {"name", key.about.name}};
  if (!key.about.namespace_name.empty()) involved["namespace"] = key.about.namespace_name;
  if (!key.about.uid.empty()) involved["uid"] = key.about.uid;
  const json::object body{
      {"apiVersion", "v1"},
      {"kind", "Event"},
      {"metadata", {{"name", name}, {"namespace", namespace_of(key.about)}}},
      {"involvedObject", std::move(involved)},
      {"type", "Warning"},
      {"reason", key.reason},
      {"message", event.message},
      {"count", event.count},
      {"firstTimestamp", now},
      {"lastTimestamp", now},
      {"source", {{"component", component_}, {"host", host_}}},
      {"reportingComponent", component_},
      {"reportingInstance", host_},
  };
  event.name = std::move(name);
  return {event.number, "POST", path, "application/json", json::serialize(body)};
}

void EventTable::answered(std::uint64_t number, bool done, bool gone) {
  for (auto& [key, event] : events_) {
    if (event.number != number) continue;
    event.number = 0;
    const bool made = event.told != 0;
    if (done) {
      event.told = event.sending;
    } else if (!made || gone) {
      event.name.clear();
      event.told = 0;
    }
    return;
  }
}

// A failed one waits as long as another.
void EventTable::forget_old(std::uint64_t now_ns) {
  for (auto one = events_.begin(); one != events_.end();) {
    const auto& event = one->second;
    const auto last_ns = event.count == event.told ? event.sent_ns : event.since_ns;
    if (event.number != 0 || now_ns < last_ns + forget_ns) {
      ++one;
      continue;
    }
    if (event.count != event.told) dropped_ += event.count - event.told;
    const auto of_one = of_one_.find(one->first.about);
    if (--of_one->second == 0) of_one_.erase(of_one);
    one = events_.erase(one);
  }
}

}  // namespace sluice::kube
