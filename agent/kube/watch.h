// The list and watch of one kind as a state machine: it is told what came and when, and says what to ask next. Pure.
//
//   list page ... list page   every object there is, at one resourceVersion
//   follow                    what changes from there on, line by line, until the stream ends; then from the last
//   version 410 Gone                  the server has forgotten that version: list again
//
// While a list is read again, and whenever the server cannot be reached, what was known stays; a whole new list is
// compared to it, and only the differences are changes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kube/back_off.h"
#include "kube/object.h"

namespace sluice::kube {

struct Change {
  bool removed = false;
  Object object;  // removed: its id alone counts
};

struct WatchLimits {
  std::size_t objects = 100'000;  // of one kind; a list of more is refused
  std::uint32_t page = 500;       // asked for at once
};

// Times are monotonic nanoseconds.
class Watch {
 public:
  using Random = std::function<std::uint32_t()>;
  // Takes out of an object what nobody reads, as soon as it was parsed; null: nothing.
  using Trim = void (*)(boost::json::object& content);
  Watch(WatchLimits limits, Random random, Trim trim = nullptr);

  // What to do now; each is answered by one of the calls below before next() is called again.
  struct List {  // GET: on_list() with the whole body, or on_oversized_list()
    std::string query;
  };
  struct Follow {  // GET: on_follow(), and after status 200 on_line() for each line, then on_end()
    std::string query;
    std::uint32_t timeout_s = 0;  // when the server ends the stream by itself
  };
  struct Pause {  // nothing before then
    std::uint64_t until_ns = 0;
  };
  using Step = std::variant<List, Follow, Pause>;
  Step next(std::uint64_t now_ns);

  void on_list(unsigned status, std::string_view body, std::uint64_t now_ns);
  // The page is larger than the driver holds: smaller ones are asked for.
  void on_oversized_list(std::uint64_t now_ns);
  // `body` explains a status other than 200.
  void on_follow(unsigned status, std::string_view body, std::uint64_t now_ns);
  // False: the stream is of no more use; it is to be dropped without on_end().
  bool on_line(std::string_view line, std::uint64_t now_ns);
  // The stream has ended, as streams do.
  void on_end(std::uint64_t now_ns);
  // Either request could not be made, or its answer broke off.
  void on_failure(std::string why, std::uint64_t now_ns);
  // The kind is asked for elsewhere from now on: list again, keeping what is known.
  void restart();

  // What has happened since the last call, in its order. Empty until the first list is whole.
  std::vector<Change> take_changes();
  // A first list was whole.
  bool is_complete() const { return complete_; }
  std::size_t size() const { return known_.size(); }
  // What is wrong now; `since_ns` 0: nothing.
  struct Trouble {
    std::uint64_t since_ns = 0;
    std::string why;
  };
  const Trouble& trouble() const { return trouble_; }

 private:
  struct Known {
    std::string uid;
    std::string version;
    bool operator==(const Known&) const = default;
  };
  using Table = std::map<ObjectId, Known>;

  void begin_list();
  bool take_page(ListPage page, std::uint64_t now_ns);
  void finish_list();
  void take_event(Event event);
  void refuse(unsigned status, std::string_view body, std::uint64_t now_ns);
  void fail(std::string why, std::uint64_t now_ns, std::uint64_t at_least_s = 0);
  void expire(std::string_view what, std::uint64_t now_ns);

  WatchLimits limits_;
  Random random_;
  Trim trim_;
  BackOff back_off_;
  Trouble trouble_;
  std::uint64_t pause_until_ns_ = 0;
  bool complete_ = false;
  bool following_ = false;       // what is asked next, or now: a stream, or a list
  bool expired_before_ = false;  // and nothing has come since

  // Of the list that is being read.
  std::uint32_t page_;
  std::string continue_;
  Table listed_;
  std::vector<Change> listed_changes_;

  Table known_;
  std::string version_;
  std::uint64_t followed_since_ns_ = 0;
  std::vector<Change> changes_;
};

// `text` as a value in a query (RFC 3986 section 2.1).
std::string encode_query(std::string_view text);

}  // namespace sluice::kube
