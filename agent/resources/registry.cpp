#include "resources/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "resources/protocol_conflict.h"

namespace sluice::resources {
namespace {

void mark_errors(std::vector<Problem>& problems, std::string_view effect) {
  for (auto& problem : problems) {
    if (problem.severity == Severity::error) problem.message += effect;
  }
}

auto age_of(const Service& service) {
  return std::tie(service.created, service.name, service.namespace_name);
}
template <typename T>
auto age_of(const T& routing) {
  return std::tie(routing.object.created, routing.object.name, routing.object.namespace_name);
}

}  // namespace

Registry::Object Registry::replace(const File& before, const ObjectKey& key, Document document) {
  Object object;
  object.line = document.line;
  object.problems = std::move(document.problems);
  object.content = std::move(document.object);
  object.lines = std::move(document.lines);
  object.rejected = std::any_of(object.problems.begin(), object.problems.end(),
                                [](const auto& problem) { return problem.severity == Severity::error; });
  if (!object.rejected) return object;
  const auto old = before.objects.find(key);
  if (old != before.objects.end()) {
    object.content = old->second.content;
    object.lines = old->second.lines;
  }
  mark_errors(object.problems,
              object.is_known() ? "; the last good version stays in force" : "; the object is not in force");
  return object;
}

void Registry::update_file(const std::string& file, FileContent content) {
  auto& current = files_[file];
  if (content.failure) {
    content.failure->message +=
        current.objects.empty() ? "; nothing of it is in force" : "; what it said before stays in force";
    current.problems = {*std::move(content.failure)};
    return;
  }
  File next;
  bool unnamed = false;
  for (auto& document : content.documents) {
    if (document.key.kind.empty()) {
      unnamed = unnamed || document.has_errors();
      std::move(document.problems.begin(), document.problems.end(), std::back_inserter(next.problems));
    } else if (const auto found = next.objects.find(document.key); found != next.objects.end()) {
      next.problems.push_back({Severity::error, "SLU0005", file, document.line, "", document.key.to_string(),
                               fmt::format("is there already, in line {}: remove one", found->second.line)});
    } else {
      auto key = document.key;
      auto object = replace(current, key, std::move(document));
      next.objects.emplace(std::move(key), std::move(object));
    }
  }
  // A document that lost its name may be any object that is missing now.
  if (unnamed) next.objects.merge(current.objects);
  current = std::move(next);
}

void Registry::remove_file(const std::string& file) {
  files_.erase(file);
}

void Registry::update_object(const std::string& source, const ObjectKey& key, Document document) {
  auto& file = files_[source];
  auto object = replace(file, key, std::move(document));
  file.objects.insert_or_assign(key, std::move(object));
}

void Registry::remove_object(const std::string& source, const ObjectKey& key) {
  const auto file = files_.find(source);
  if (file == files_.end()) return;
  file->second.objects.erase(key);
  if (file->second.objects.empty()) files_.erase(file);
}

std::vector<Registry::InForce> Registry::in_force(std::vector<InForce>* shadowed) const {
  std::vector<InForce> objects;
  std::map<ObjectKey, bool> taken;
  for (const auto& [path, file] : files_) {
    for (const auto& [key, object] : file.objects) {
      const bool usable = object.is_known() || !object.rejected;
      const auto [entry, first] = taken.try_emplace(key, usable);
      if (!first && shadowed != nullptr) shadowed->push_back({&path, &key, &object});
      if (usable && (first || !entry->second)) objects.push_back({&path, &key, &object});
      entry->second = entry->second || usable;
    }
  }
  return objects;
}

PolicyObjects Registry::policy() const {
  PolicyObjects objects;
  for (const auto& entry : in_force(nullptr)) {
    const auto& content = entry.object->content;
    if (const auto* service = std::get_if<Service>(&content)) objects.services.push_back(*service);
    if (const auto* gateway = std::get_if<Gateway>(&content)) objects.gateways.push_back(*gateway);
    if (const auto* service = std::get_if<VirtualService>(&content)) objects.virtual_services.push_back(*service);
    if (const auto* rule = std::get_if<DestinationRule>(&content)) objects.destination_rules.push_back(*rule);
  }
  const auto by_age = [](const auto& a, const auto& b) { return age_of(a) < age_of(b); };
  std::sort(objects.services.begin(), objects.services.end(), by_age);
  std::sort(objects.gateways.begin(), objects.gateways.end(), by_age);
  std::sort(objects.virtual_services.begin(), objects.virtual_services.end(), by_age);
  std::sort(objects.destination_rules.begin(), objects.destination_rules.end(), by_age);
  return objects;
}

std::vector<LocatedObject> Registry::objects() const {
  std::vector<LocatedObject> objects;
  for (const auto& [file, key, object] : in_force(nullptr)) {
    objects.push_back({key, file, object->line, &object->content, &object->lines});
  }
  return objects;
}

bool Registry::is_rejected(const ObjectKey& key) const {
  bool found = false;
  for (const auto& [path, file] : files_) {
    const auto object = file.objects.find(key);
    if (object == file.objects.end()) continue;
    if (object->second.is_known() || !object->second.rejected) return false;
    found = true;
  }
  return found;
}

std::vector<Problem> Registry::problems() const {
  std::vector<Problem> problems;
  const auto add = [&](const std::vector<Problem>& more) { problems.insert(problems.end(), more.begin(), more.end()); };
  for (const auto& [path, file] : files_) {
    add(file.problems);
    for (const auto& [key, object] : file.objects) add(object.problems);
  }
  std::vector<InForce> shadowed;
  std::map<ObjectKey, const std::string*> places;
  for (const auto& entry : in_force(&shadowed)) {
    places.emplace(*entry.key, entry.file);
  }
  for (const auto& entry : shadowed) {
    const auto place = places.find(*entry.key);
    if (place == places.end() || place->second == entry.file) continue;
    problems.push_back({Severity::error, "SLU0005", *entry.file, entry.object->line, "", entry.key->to_string(),
                        "is in " + *place->second + " too, and that one is in force: remove one"});
  }
  add(find_protocol_conflicts(objects()));
  std::sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.file, a.line, a.field, a.message) < std::tie(b.file, b.line, b.field, b.message);
  });
  return problems;
}

}  // namespace sluice::resources
