// Istio objects as they stand in YAML files: each becomes a document with what it says and what is wrong with it.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "policy/routes.h"
#include "policy/service.h"
#include "resources/field_lines.h"
#include "resources/problem.h"
#include "settings/yaml_tree.h"

namespace sluice::resources {

struct ObjectKey {
  std::string kind;  // empty: not an object that is read
  std::string namespace_name;
  std::string name;

  // "ServiceEntry my-namespace/external-api"
  std::string to_string() const;
  auto operator<=>(const ObjectKey&) const = default;
};

// What an object says, when it has no errors.
using PolicyObject = std::variant<std::monostate, Service, Gateway, VirtualService, DestinationRule>;

struct Document {
  ObjectKey key;
  unsigned line = 0;
  PolicyObject object;
  FieldLines lines;
  std::vector<Problem> problems;

  bool has_errors() const;
  // What the object says, null when it is of another kind or has errors.
  template <typename T>
  const T* as() const {
    return std::get_if<T>(&object);
  }
};

// One object in force and where it stands. Points into its registry; good until that changes.
struct LocatedObject {
  const ObjectKey* key;
  const std::string* file;
  unsigned line;
  const PolicyObject* content;  // monostate: known by name only
  const FieldLines* fields;

  // The line of a field of the object, or of what is around it.
  unsigned line_of(std::string_view field) const {
    const auto found = fields->find(field);
    return found != 0 ? found : line;
  }
};

// What one file says. With a `failure` nothing of it could be read.
struct FileContent {
  std::vector<Document> documents;
  std::optional<Problem> failure;
};

// Reads every document of a YAML text, with lists (`kind: List`) expanded. Sidecar is read by name only.
FileContent parse_documents(std::string_view yaml, const std::string& file);
// Reads one object that was parsed by somebody else. `source` stands for the file in problems; without lines in `root`
// there are none in what comes of it.
Document read_document(const settings::yaml::Node& root, const std::string& source);

}  // namespace sluice::resources
