// Objects as the API server sends them: JSON, of which the metadata that a watch lives on is read here.
#pragma once

#include <boost/json.hpp>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "settings/yaml_tree.h"

namespace sluice::kube {

inline constexpr std::size_t max_json_depth = 64;

// Of one kind.
struct ObjectId {
  std::string namespace_name;  // empty: of the cluster
  std::string name;
  auto operator<=>(const ObjectId&) const = default;
};

struct Object {
  ObjectId id;
  std::string uid;
  std::string version;          // metadata.resourceVersion: opaque, to be compared for equality only
  boost::json::object content;  // all of it but metadata.managedFields
};

// `content` with a metadata.name; nullopt: it is no object.
std::optional<Object> read_object(boost::json::value content);

// One page of a list.
struct ListPage {
  std::string version;        // metadata.resourceVersion
  std::string next;           // metadata.continue; empty: this is the last page
  std::vector<Object> items;  // those that are objects
};
Result<ListPage> parse_list(std::string_view json);

// What happened to an object, of one line of a watch.
enum class EventType : std::uint8_t { put, removed, bookmark, error, unknown };
struct Event {
  EventType type = EventType::unknown;
  Object object;        // put, removed; of a bookmark its version alone
  unsigned code = 0;    // error: as an HTTP status
  std::string message;  // error
};
Result<Event> parse_event(std::string_view json);

// Why a request was refused: the message and details of a Status object; all empty when `json` is none.
struct Refusal {
  std::string message;
  std::uint64_t retry_after_s = 0;
};
Refusal parse_refusal(std::string_view json);

// As readers of hand-written YAML take it. Values have no lines.
settings::yaml::Node to_tree(const boost::json::value& value);

}  // namespace sluice::kube
