// Istio objects as they stand in YAML files: each becomes a document with what it says and what is wrong with it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/service.h"

namespace sluice::resources {

struct ObjectKey {
  std::string kind;  // empty: not an object that is read
  std::string namespace_name;
  std::string name;

  // "ServiceEntry my-namespace/external-api"
  std::string to_string() const;
  auto operator<=>(const ObjectKey&) const = default;
};

enum class Severity : std::uint8_t { warning, error };  // an error keeps its object out of force

// Codes of `istioctl analyze` where it has one for the case (IST...), our own (SLU...) otherwise, empty without either:
//   IST0106 not valid  IST0133 doubtful  IST0134 TCP without addresses  IST0177 one host and port, two protocols
//   SLU0001 resolution NONE opens a port to every address  SLU0002 no endpoint to dial  SLU0003 not read here
//   SLU0004 the file cannot be read  SLU0005 one object in two places
struct Problem {
  Severity severity = Severity::error;
  std::string code;
  std::string file;
  unsigned line = 0;    // from 1; 0 for the file as a whole
  std::string field;    // "spec.hosts[0]"; empty for the object or file as a whole
  std::string object;   // ObjectKey::to_string(); empty when the problem is no object's
  std::string message;  // what is wrong and what to change

  // "FILE:LINE: error IST0106: ServiceEntry ns/name: spec.hosts[0]: MESSAGE"
  std::string to_string() const;
  auto operator<=>(const Problem&) const = default;
};

struct Document {
  ObjectKey key;
  unsigned line = 0;
  std::optional<Service> service;  // a ServiceEntry without errors
  std::vector<Problem> problems;

  bool has_errors() const;
};

// What one file says. With a `failure` nothing of it could be read.
struct FileContent {
  std::vector<Document> documents;
  std::optional<Problem> failure;
};

// Reads every document of a YAML text, with lists (`kind: List`) expanded. ServiceEntry is read in full; Gateway,
// VirtualService, DestinationRule and Sidecar only by name.
FileContent parse_documents(std::string_view yaml, const std::string& file);

}  // namespace sluice::resources
