#include "policy/delegates.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "policy/export_to.h"

namespace sluice {
namespace {

// Of one VirtualService, put together: two lists multiply.
constexpr std::size_t max_matches = std::size_t{64} * 1024;

using Kind = StringMatch::Kind;
using NamedMatches = std::vector<std::pair<std::string, StringMatch>>;

// May something match `outer` and be all that `inner` takes? Istio's stringMatchConflict, turned around.
bool fits(const StringMatch& outer, const StringMatch& inner) {
  if (outer.kind == Kind::present) return true;
  if (outer.kind == Kind::prefix && (inner.kind == Kind::prefix || inner.kind == Kind::exact))
    return inner.value.starts_with(outer.value);
  return outer.kind == Kind::exact && outer == inner;
}
bool fits(const std::optional<StringMatch>& outer, const std::optional<StringMatch>& inner) {
  return !outer || !inner || fits(*outer, *inner);
}
bool fits(const NamedMatches& outer, const NamedMatches& inner) {
  return std::all_of(inner.begin(), inner.end(), [&](const auto& one) {
    const auto same = std::find_if(outer.begin(), outer.end(), [&](const auto& o) { return o.first == one.first; });
    return same == outer.end() || fits(same->second, one.second);
  });
}
bool fits(const Labels& outer, const Labels& inner) {
  return std::all_of(inner.begin(), inner.end(), [&](const auto& label) {
    const auto same = outer.find(label.first);
    return same == outer.end() || same->second == label.second;
  });
}

bool fits(const HttpMatch& outer, const HttpMatch& inner) {
  const bool same_namespace = outer.source_namespace.empty() || inner.source_namespace.empty() ||
                              outer.source_namespace == inner.source_namespace;
  const bool same_case = !outer.uri || !inner.uri || outer.ignore_uri_case == inner.ignore_uri_case;
  return fits(outer.uri, inner.uri) && fits(outer.scheme, inner.scheme) && fits(outer.method, inner.method) &&
         fits(outer.authority, inner.authority) && fits(outer.headers, inner.headers) &&
         fits(outer.query_params, inner.query_params) && fits(outer.source_labels, inner.source_labels) && same_case &&
         same_namespace && (!outer.port || !inner.port || outer.port == inner.port);
}

void fill(NamedMatches& inner, const NamedMatches& outer) {
  for (const auto& one : outer) {
    const bool there = std::any_of(inner.begin(), inner.end(), [&](const auto& i) { return i.first == one.first; });
    if (!there) inner.push_back(one);
  }
}
template <typename T>
void fill(std::optional<T>& inner, const std::optional<T>& outer) {
  if (!inner) inner = outer;
}

HttpMatch narrow(const HttpMatch& outer, HttpMatch inner) {
  if (!inner.uri) inner.ignore_uri_case = outer.ignore_uri_case;
  fill(inner.uri, outer.uri);
  fill(inner.scheme, outer.scheme);
  fill(inner.method, outer.method);
  fill(inner.authority, outer.authority);
  fill(inner.headers, outer.headers);
  // None of them may match, so both lists count.
  inner.without_headers.insert(inner.without_headers.end(), outer.without_headers.begin(), outer.without_headers.end());
  fill(inner.query_params, outer.query_params);
  fill(inner.port, outer.port);
  fill(inner.gateways, outer.gateways);
  inner.source_labels.insert(outer.source_labels.begin(), outer.source_labels.end());
  if (inner.source_namespace.empty()) inner.source_namespace = outer.source_namespace;
  return inner;
}

// nullopt: a match of `inner` fits into none of `outer`.
std::optional<std::vector<HttpMatch>> narrow(const std::vector<HttpMatch>& outer, const std::vector<HttpMatch>& inner) {
  if (outer.empty()) return inner;
  if (inner.empty()) return outer;
  std::vector<HttpMatch> all;
  for (const auto& one : inner) {
    const auto before = all.size();
    for (const auto& other : outer) {
      if (fits(other, one)) all.push_back(narrow(other, one));
    }
    if (all.size() == before) return std::nullopt;
  }
  return all;
}

void inherit(const HttpRule& outer, HttpRule& rule) {
  if (rule.name.empty())
    rule.name = outer.name;
  else if (!outer.name.empty())
    rule.name = outer.name + "-" + rule.name;
  fill(rule.timeout_ms, outer.timeout_ms);
  fill(rule.retries, outer.retries);
  fill(rule.cors, outer.cors);
  if (rule.headers.empty()) rule.headers = outer.headers;
  if (rule.redirect) return;  // excludes both
  fill(rule.rewrite, outer.rewrite);
  fill(rule.fault, outer.fault);
  if (rule.mirrors.empty()) rule.mirrors = outer.mirrors;
}

class Merger {
 public:
  explicit Merger(const std::vector<VirtualService>& services) {
    for (const auto& service : services) by_name_.emplace(service.object.to_string(), &service);
  }

  void add(const VirtualService& service, MergedServices& merged) const {
    auto result = service;
    result.http.clear();
    std::vector<std::string> names;
    std::size_t match_count = 0;
    const auto put = [&](HttpRule rule, std::string name) {
      if (!rule.name.empty()) name += " " + rule.name;
      names.push_back(std::move(name));
      result.http.push_back(std::move(rule));
    };
    for (std::size_t r = 0; r < service.http.size(); ++r) {
      const auto& rule = service.http[r];
      const auto name = fmt::format("http[{}]", r);
      if (!rule.delegate) {
        put(rule, name);
        continue;
      }
      const auto delegate_name = rule.delegate->namespace_name + "/" + rule.delegate->name;
      const auto found = by_name_.find(delegate_name);
      const bool missing = found == by_name_.end();
      const auto broken = [&](std::string why) {
        merged.broken.push_back({service.object, r, *rule.delegate, missing, std::move(why)});
      };
      const auto why = missing ? "is not there" : fault_of(*found->second, service);
      if (!why.empty()) {
        broken(std::string(why));
        continue;
      }
      const auto& inner = found->second->http;
      for (std::size_t i = 0; i < inner.size(); ++i) {
        match_count +=
            std::max<std::size_t>(rule.matches.size(), 1) * std::max<std::size_t>(inner[i].matches.size(), 1);
        if (match_count > max_matches) {
          broken(fmt::format("has matches that multiply with the rule's to more than {}: have fewer of them",
                             max_matches));
          break;
        }
        auto matches = narrow(rule.matches, inner[i].matches);
        if (!matches) {
          broken(
              fmt::format("has a match in http[{}] that fits into none of the rule's, and that rule is left out", i));
          continue;
        }
        auto taken = inner[i];
        taken.matches = *std::move(matches);
        inherit(rule, taken);
        put(std::move(taken), fmt::format("{} {} http[{}]", name, delegate_name, i));
      }
    }
    merged.services.push_back(std::move(result));
    merged.rule_names.push_back(std::move(names));
  }

 private:
  static std::string_view fault_of(const VirtualService& delegate, const VirtualService& from) {
    if (!delegate.hosts.empty()) return "has hosts, so it is no delegate";
    if (!is_exported_to(delegate.export_to, from.object.namespace_name)) return "is not exported to this namespace";
    const bool delegates = std::any_of(delegate.http.begin(), delegate.http.end(),
                                       [](const HttpRule& rule) { return rule.delegate.has_value(); });
    return delegates ? "delegates itself, and only one step is followed" : "";
  }

  std::map<std::string, const VirtualService*> by_name_;
};

}  // namespace

MergedServices merge_delegates(std::vector<VirtualService> services) {
  const Merger merger(services);
  MergedServices merged;
  for (const auto& service : services) {
    if (!service.hosts.empty()) merger.add(service, merged);
  }
  return merged;
}

}  // namespace sluice
