// The live connections of one worker: counted, listed, judged again when policy changes, and cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/ip.h"
#include "policy/snapshot.h"

namespace sluice::serving {

// What `sluice flows` shows of one connection.
struct Flow {
  std::string id;
  std::string pod;
  std::string source;
  std::string destination;
  std::string host;
  std::string verdict;
  std::string rule;
  std::string gateway;
  std::string datapath;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  double age_s = 0;
};

// A connection that can be seen and cut. It belongs to its worker's thread.
class Live {
 public:
  virtual ~Live() = default;
  virtual Flow flow() const = 0;
  // Would `snapshot` still allow what is open here? True while nothing is decided yet.
  virtual bool still_allowed(const Snapshot& snapshot) const = 0;
  // Resets it at both ends; `why` becomes its close_reason.
  virtual void cut(std::string_view why) = 0;
};

// Of one table. Rates are connections a second, with bursts of one second's worth.
struct LiveLimits {
  std::size_t connections = 0;
  std::size_t connections_per_source = 0;
  std::size_t rate = 0;
  std::size_t rate_per_source = 0;
};

class LiveTable {
 public:
  explicit LiveTable(LiveLimits limits) : limits_(limits), rate_(limits.rate) {}

  // A place in the table for as long as it lives.
  class Place {
   public:
    Place() = default;
    Place(LiveTable& table, Live& live);
    Place(Place&& other) noexcept;
    Place& operator=(Place&& other) = delete;
    ~Place();

    // Counts the connection as one of `source`, once; which limit that would pass, empty: none.
    std::string_view claim(const IpAddress& source, std::uint64_t now_ns);

   private:
    LiveTable* table_ = nullptr;
    Live* live_ = nullptr;
    std::optional<IpAddress> source_;
  };

  // A place, or the limit that is reached. Who calls may become known later: see Place::claim. Times are monotonic.
  std::variant<Place, std::string_view> admit(Live& live, std::uint64_t now_ns);

  std::size_t size() const { return live_.size(); }
  std::vector<Flow> flows() const;
  // Cuts what `snapshot` would not allow any more; returns how many.
  std::size_t recheck(const Snapshot& snapshot);
  void cut_all(std::string_view why);
  // Those that were claimed for one of `sources`.
  void cut_of(const std::set<IpAddress>& sources, std::string_view why);

 private:
  // A token bucket.
  class Rate {
   public:
    explicit Rate(std::size_t per_second) : per_second_(static_cast<double>(per_second)), tokens_(per_second_) {}
    bool take(std::uint64_t now_ns);
    bool is_full(std::uint64_t now_ns) const { return available(now_ns) >= per_second_; }

   private:
    double available(std::uint64_t now_ns) const;

    double per_second_;
    double tokens_;
    std::uint64_t last_ns_ = 0;
  };
  struct Source {
    std::size_t count = 0;
    Rate rate;
  };

  void forget_idle_sources(std::uint64_t now_ns);

  LiveLimits limits_;
  Rate rate_;
  std::unordered_map<Live*, std::optional<IpAddress>> live_;  // with whose it was claimed to be
  std::unordered_map<IpAddress, Source> sources_;  // those with connections, and those whose rate still counts
  std::uint64_t next_sweep_ns_ = 0;
};

}  // namespace sluice::serving
