// Rules and matches that others leave nothing to: IST0130, IST0131.
#include <algorithm>
#include <optional>

#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

// Matches are compared pairwise; of a longer list the rest is not.
constexpr std::size_t max_compared = 500;

// Is `later` what `earlier` takes already, by a prefix of its path and nothing else that it does not ask too?
bool is_covered(const HttpMatch& earlier, const HttpMatch& later) {
  if (earlier == later) return true;
  const auto prefix = [](const HttpMatch& match) { return match.uri && match.uri->kind == StringMatch::Kind::prefix; };
  if (!prefix(earlier) || !prefix(later) || earlier.ignore_uri_case != later.ignore_uri_case) return false;
  if (!later.uri->value.starts_with(earlier.uri->value)) return false;
  HttpMatch path_only;
  path_only.uri = earlier.uri;
  path_only.ignore_uri_case = earlier.ignore_uri_case;
  path_only.gateways = earlier.gateways;
  auto moved = later;
  moved.uri = earlier.uri;
  return earlier == moved || (earlier == path_only && earlier.gateways == later.gateways);
}
bool is_covered(const ConnectionMatch& earlier, const ConnectionMatch& later) {
  return earlier == later;
}

template <typename Match>
struct Earlier {
  const Match* match;
  std::string path;
};

template <typename Match>
struct Duplicate {
  std::string path;
  std::string of;
  bool is_equal;
};

template <typename Match>
std::vector<Duplicate<Match>> find_duplicates(const std::vector<Match>& matches, const std::string& rule,
                                              std::vector<Earlier<Match>>& earlier) {
  std::vector<Duplicate<Match>> duplicates;
  for (std::size_t m = 0; m < matches.size(); ++m) {
    auto path = fmt::format("{}.match[{}]", rule, m);
    const auto found = std::find_if(earlier.begin(), earlier.end(),
                                    [&](const auto& other) { return is_covered(*other.match, matches[m]); });
    if (found != earlier.end()) {
      duplicates.push_back({path, found->path, *found->match == matches[m]});
    } else if (earlier.size() < max_compared) {
      earlier.push_back({&matches[m], std::move(path)});
    }
  }
  return duplicates;
}

template <typename Rule>
void check_list(World& world, const Located<VirtualService>& service, const std::vector<Rule>& rules,
                std::string_view key) {
  using Match = typename decltype(Rule::matches)::value_type;
  std::optional<std::string> catch_all;
  std::vector<Earlier<Match>> earlier;
  for (std::size_t r = 0; r < rules.size(); ++r) {
    const auto path = fmt::format("spec.{}[{}]", key, r);
    if (catch_all) {
      world.warn(service, "IST0130", path,
                 fmt::format("is never reached, {} matches everything: put that one last", *catch_all));
      continue;
    }
    if (rules[r].matches.empty()) {
      catch_all = path;
      continue;
    }
    const auto duplicates = find_duplicates(rules[r].matches, path, earlier);
    const auto equal = std::count_if(duplicates.begin(), duplicates.end(), [](const auto& d) { return d.is_equal; });
    if (static_cast<std::size_t>(equal) == rules[r].matches.size()) {
      world.warn(service, "IST0130", path,
                 fmt::format("is never reached, earlier rules match the same ({}): remove it, or move it up",
                             duplicates.front().of));
      continue;
    }
    for (const auto& duplicate : duplicates) {
      world.warn(service, "IST0131", duplicate.path,
                 fmt::format("matches nothing that {} does not: remove it, or move it up", duplicate.of));
    }
  }
}

}  // namespace

void check_rules(World& world) {
  for (const auto& service : world.virtual_services) {
    check_list(world, service, service->http, "http");
    check_list(world, service, service->tls, "tls");
    check_list(world, service, service->tcp, "tcp");
  }
}

}  // namespace sluice::resources
