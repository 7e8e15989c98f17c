// The live connections of one worker: counted, listed, judged again when policy changes, and cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
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

struct LiveLimits {
  std::size_t connections = 0;
  std::size_t connections_per_source = 0;
};

class LiveTable {
 public:
  explicit LiveTable(LiveLimits limits) : limits_(limits) {}

  // A place in the table for as long as it lives.
  class Place {
   public:
    Place() = default;
    Place(LiveTable& table, Live& live, const IpAddress& source);
    Place(Place&& other) noexcept;
    Place& operator=(Place&& other) = delete;
    ~Place();

    explicit operator bool() const { return table_ != nullptr; }

   private:
    LiveTable* table_ = nullptr;
    Live* live_ = nullptr;
    IpAddress source_;
  };

  // An empty place when a limit is reached.
  Place admit(Live& live, const IpAddress& source);

  std::size_t size() const { return live_.size(); }
  std::vector<Flow> flows() const;
  // Cuts what `snapshot` would not allow any more; returns how many.
  std::size_t recheck(const Snapshot& snapshot);
  void cut_all(std::string_view why);

 private:
  LiveLimits limits_;
  std::unordered_set<Live*> live_;
  std::unordered_map<IpAddress, std::size_t> per_source_;
};

}  // namespace sluice::serving
