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

using ByName = std::map<std::string, const VirtualService*>;

std::string_view fault_of(const VirtualService& delegate, const VirtualService& from) {
  if (!delegate.hosts.empty()) return "has hosts, so it is no delegate";
  if (!is_exported_to(delegate.export_to, from.object.namespace_name)) return "is not exported to this namespace";
  const bool delegates = std::any_of(delegate.http.begin(), delegate.http.end(),
                                     [](const HttpRule& rule) { return rule.delegate.has_value(); });
  return delegates ? "delegates itself, and only one step is followed" : "";
}

// One VirtualService, as its rules are put together.
class Merger {
 public:
  Merger(const VirtualService& service, const ByName& by_name, std::vector<BrokenDelegate>& broken)
      : service_(service), by_name_(by_name), broken_(broken) {
    for (std::size_t r = 0; r < service.http.size(); ++r) {
      if (service.http[r].delegate)
        expand(r);
      else
        put(service.http[r], fmt::format("http[{}]", r));
    }
  }
  std::vector<HttpRule> take_rules() { return std::move(rules_); }
  std::vector<std::string> take_names() { return std::move(names_); }

 private:
  void put(HttpRule rule, std::string name) {
    if (!rule.name.empty()) name += " " + rule.name;
    names_.push_back(std::move(name));
    rules_.push_back(std::move(rule));
  }

  void expand(std::size_t index) {
    const auto& name = *service_.http[index].delegate;
    const auto found = by_name_.find(name.namespace_name + "/" + name.name);
    const bool missing = found == by_name_.end();
    const auto broken = [&](std::string why) {
      broken_.push_back({service_.object, index, name, missing, std::move(why)});
    };
    if (missing) return broken("is not there");
    if (const auto fault = fault_of(*found->second, service_); !fault.empty()) return broken(std::string(fault));
    for (std::size_t inner = 0; inner < found->second->http.size(); ++inner) {
      if (auto why = add(index, *found->second, inner); !why.empty()) broken(std::move(why));
    }
  }

  // A rule of the delegate in the place of the one with `index`; why it is left out, empty: it is not.
  std::string add(std::size_t index, const VirtualService& delegate, std::size_t inner) {
    const auto& outer = service_.http[index];
    auto rule = delegate.http[inner];
    const auto added = std::max<std::size_t>(outer.matches.size(), 1) * std::max<std::size_t>(rule.matches.size(), 1);
    if (match_count_ + added > max_matches)
      return fmt::format("has in http[{}] matches that multiply to over {} with the rule's: have fewer of them", inner,
                         max_matches);
    match_count_ += added;
    auto matches = narrow(outer.matches, rule.matches);
    if (!matches)
      return fmt::format("has in http[{}] a match that fits into none of the rule's, and that rule is left out", inner);
    rule.matches = *std::move(matches);
    inherit(outer, rule);
    put(std::move(rule), fmt::format("http[{}] {} http[{}]", index, delegate.object.to_string(), inner));
    return "";
  }

  const VirtualService& service_;
  const ByName& by_name_;
  std::vector<BrokenDelegate>& broken_;
  std::vector<HttpRule> rules_;
  std::vector<std::string> names_;
  std::size_t match_count_ = 0;
};

}  // namespace

MergedServices merge_delegates(std::vector<VirtualService> services) {
  ByName by_name;
  for (const auto& service : services) by_name.emplace(service.object.to_string(), &service);
  MergedServices merged;
  std::vector<std::vector<HttpRule>> rules;
  for (const auto& service : services) {
    if (service.hosts.empty()) continue;
    Merger merger(service, by_name, merged.broken);
    rules.push_back(merger.take_rules());
    merged.rule_names.push_back(merger.take_names());
  }
  // Only now, when nobody looks at the delegates any more.
  std::erase_if(services, [](const VirtualService& service) { return service.hosts.empty(); });
  for (std::size_t i = 0; i < services.size(); ++i) services[i].http = std::move(rules[i]);
  merged.services = std::move(services);
  return merged;
}

}  // namespace sluice
