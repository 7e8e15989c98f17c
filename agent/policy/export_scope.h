// Who may use a service (spec.exportTo). Equal exportTo lists are one scope, so that what a namespace may see is a
// short list of scopes, and of two services alike in everything but age only one per scope is worth keeping.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "policy/service.h"

namespace sluice {

using Scope = std::uint32_t;

// The scopes that a caller sees, ascending.
class Sight {
 public:
  explicit Sight(std::span<const Scope> scopes) : scopes_(scopes) {}
  // Sees what is exported to anybody, or to nobody.
  static Sight of_everything() {
    Sight sight({});
    sight.everything_ = true;
    return sight;
  }

  // The oldest of `entries` in sight that passes `accept`, null when there is none. `entries` are sorted by their
  // members `scope` and then `service`; the smaller service is the older one. Without limits any accepted entry does.
  template <typename Entry, typename Accept>
  const Entry* oldest(std::span<const Entry> entries, Accept accept) const;
  template <typename Entry>
  const Entry* oldest(std::span<const Entry> entries) const {
    return oldest(entries, [](const Entry&) { return true; });
  }

 private:
  std::span<const Scope> scopes_;
  bool everything_ = false;
};

class ExportScopes {
 public:
  // `services` must outlive the scopes.
  explicit ExportScopes(const std::vector<Service>& services);

  Scope of(std::size_t service) const { return of_service_[service]; }
  Sight from(std::string_view namespace_name) const;
  // Heap bytes.
  std::size_t bytes() const;

 private:
  // A namespace that some service names in its exportTo, and where its scopes begin in `visible_`; they end where the
  // next one's begin.
  struct Viewer {
    std::string_view namespace_name;
    std::size_t begin = 0;
  };

  std::vector<Scope> of_service_;
  std::vector<Viewer> viewers_;  // by name
  std::vector<Scope> visible_;
};

template <typename Entry, typename Accept>
const Entry* Sight::oldest(std::span<const Entry> entries, Accept accept) const {
  if (everything_) {
    const auto found = std::find_if(entries.begin(), entries.end(), accept);
    return found == entries.end() ? nullptr : &*found;
  }
  const Entry* best = nullptr;
  auto entry = entries.begin();
  for (const Scope scope : scopes_) {
    entry = std::lower_bound(entry, entries.end(), scope,
                             [](const Entry& left, Scope right) { return left.scope < right; });
    for (; entry != entries.end() && entry->scope == scope; ++entry) {
      if (best != nullptr && best->service < entry->service) break;
      if (accept(*entry)) {
        best = &*entry;
        break;
      }
    }
    if (entry == entries.end()) break;
  }
  return best;
}

}  // namespace sluice
