#include "policy/export_scope.h"

#include <map>
#include <utility>

namespace sluice {
namespace {

constexpr Scope exported_to_all = 0;
constexpr Scope exported_to_none = 1;
constexpr Scope first_listed = 2;
constexpr std::string_view nobody = "~";
constexpr Scope only_public[] = {exported_to_all};

using Names = std::vector<std::string_view>;

Names names_of(const Service& service) {
  Names names(service.export_to.begin(), service.export_to.end());
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace

ExportScopes::ExportScopes(const std::vector<Service>& services) {
  std::map<Names, Scope> lists;
  std::vector<std::pair<std::string_view, Scope>> views;
  of_service_.reserve(services.size());
  for (const Service& service : services) {
    const Names names = names_of(service);
    if (names.empty()) {
      of_service_.push_back(exported_to_all);
      continue;
    }
    if (std::binary_search(names.begin(), names.end(), nobody)) {
      of_service_.push_back(exported_to_none);
      continue;
    }
    const auto [list, is_new] = lists.emplace(names, first_listed + static_cast<Scope>(lists.size()));
    of_service_.push_back(list->second);
    if (!is_new) continue;
    for (const auto name : names) views.emplace_back(name, list->second);
  }
  std::sort(views.begin(), views.end());
  for (const auto& [name, scope] : views) {
    if (viewers_.empty() || viewers_.back().namespace_name != name) {
      viewers_.push_back({name, visible_.size()});
      visible_.push_back(exported_to_all);
    }
    visible_.push_back(scope);
  }
  viewers_.shrink_to_fit();
  visible_.shrink_to_fit();
}

Sight ExportScopes::from(std::string_view namespace_name) const {
  const auto viewer =
      std::lower_bound(viewers_.begin(), viewers_.end(), namespace_name,
                       [](const Viewer& left, std::string_view right) { return left.namespace_name < right; });
  if (viewer == viewers_.end() || viewer->namespace_name != namespace_name) return Sight(only_public);
  const auto next = viewer + 1;
  const auto end = next == viewers_.end() ? visible_.size() : next->begin;
  return Sight(std::span(visible_).subspan(viewer->begin, end - viewer->begin));
}

std::size_t ExportScopes::bytes() const {
  return of_service_.capacity() * sizeof(Scope) + viewers_.capacity() * sizeof(Viewer) +
         visible_.capacity() * sizeof(Scope);
}

}  // namespace sluice
