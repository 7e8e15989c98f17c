#include "resources/document.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <iterator>
#include <tuple>

#include "resources/destination_rule.h"
#include "resources/gateway.h"
#include "resources/names.h"
#include "resources/service_entry.h"
#include "resources/virtual_service.h"

namespace sluice::resources {
namespace {

constexpr std::string_view istio_group = "networking.istio.io/";
constexpr std::string_view versions[] = {"v1alpha3", "v1beta1", "v1"};
constexpr std::string_view kinds[] = {"ServiceEntry", "Gateway", "VirtualService", "DestinationRule", "Sidecar"};

template <typename Range>
bool contains(const Range& range, std::string_view text) {
  return std::find(std::begin(range), std::end(range), text) != std::end(range);
}

// "2026-01-31T10:00:00Z", the only form that Kubernetes writes.
std::optional<std::int64_t> parse_time(std::string_view text) {
  constexpr std::string_view shape = "dddd-dd-ddTdd:dd:ddZ";
  if (text.size() != shape.size()) return std::nullopt;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i]) return std::nullopt;
  }
  const auto number = [&](std::size_t at, std::size_t size) {
    int value = 0;
    std::from_chars(text.data() + at, text.data() + at + size, value);
    return value;
  };
  const std::chrono::year_month_day day(std::chrono::year(number(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                        std::chrono::day(static_cast<unsigned>(number(8, 2))));
  const std::array<int, 3> clock = {number(11, 2), number(14, 2), number(17, 2)};
  if (!day.ok() || clock[0] > 23 || clock[1] > 59 || clock[2] > 60) return std::nullopt;
  const auto days = std::chrono::sys_days(day).time_since_epoch().count();
  return std::int64_t{days} * 86'400 + std::int64_t{clock[0]} * 3600 + std::int64_t{clock[1]} * 60 + clock[2];
}

// Reads one object: who it is, then what it says.
class ObjectParser {
 public:
  ObjectParser(const yaml::Node& node, const std::string& file) : node_(node), file_(file) {
    document_.line = node.line;
    findings_.context.wants_places = node.line != 0;
  }

  // `repeated`: faults of the tree, with paths inside this object.
  Document parse(std::vector<yaml::Fault> repeated) {
    findings_.context.faults = std::move(repeated);
    yaml::Reader reader(&node_, "", findings_.context);
    if (!reader.present()) return finish();
    std::string api_version;
    std::string kind;
    reader.read("apiVersion", api_version);
    reader.read("kind", kind);
    if (api_version.empty()) reader.fault("apiVersion", "is required, like networking.istio.io/v1");
    if (kind.empty()) reader.fault("kind", "is required, like ServiceEntry");
    if (!api_version.empty() && !kind.empty()) read_kind(reader, api_version, kind);
    return finish();
  }

 private:
  void read_kind(yaml::Reader& reader, const std::string& api_version, const std::string& kind) {
    if (!api_version.starts_with(istio_group) || !contains(kinds, kind)) {
      findings_.warn("SLU0003", node_.line, "kind",
                     "kind " + shorten(kind) + " of " + shorten(api_version) + " is not read: remove it from here");
      return;
    }
    read_metadata(reader.section("metadata"), kind);
    if (kind == "Sidecar") return;
    if (!contains(versions, std::string_view(api_version).substr(istio_group.size()))) {
      reader.fault("apiVersion",
                   "expected networking.istio.io/ v1, v1beta1 or v1alpha3, found " + yaml::quote(api_version));
    }
    reader.find("status");
    read_spec(kind, reader.section("spec"));
    reader.finish();
  }

  void read_spec(const std::string& kind, yaml::Reader spec) {
    ObjectName name{document_.key.namespace_name, document_.key.name, created_};
    if (kind == "Gateway") {
      document_.object = read_gateway(std::move(spec), std::move(name), findings_);
    } else if (kind == "VirtualService") {
      document_.object = read_virtual_service(std::move(spec), std::move(name), findings_);
    } else if (kind == "DestinationRule") {
      document_.object = read_destination_rule(std::move(spec), std::move(name), findings_);
    } else {
      Service service;
      service.namespace_name = std::move(name.namespace_name);
      service.name = std::move(name.name);
      service.created = created_;
      document_.object = read_service_entry(std::move(spec), std::move(service), findings_);
    }
  }

  // The rest of metadata is Kubernetes' own business.
  void read_metadata(yaml::Reader metadata, const std::string& kind) {
    ObjectKey key{kind, "default", ""};
    metadata.read("name", key.name);
    metadata.read("namespace", key.namespace_name);
    if (key.namespace_name.empty()) key.namespace_name = "default";
    if (const auto value = metadata.find("creationTimestamp")) {
      const auto time = parse_time(value->node().text);
      if (!time) value->fault("expected a time like 2026-01-31T10:00:00Z, found " + value->shown());
      created_ = time.value_or(0);
    }
    if (!is_object_name(key.name)) {
      metadata.fault("name", "is required: lower-case letters, digits, '-' and '.', found " + yaml::quote(key.name));
    } else if (!is_namespace(key.namespace_name)) {
      metadata.fault("namespace",
                     "expected lower-case letters, digits and '-', found " + yaml::quote(key.namespace_name));
    } else {
      document_.key = std::move(key);
    }
  }

  static std::string shorten(std::string_view text) {
    const auto quoted = yaml::quote(text);
    return quoted.substr(1, quoted.size() - 2);
  }

  Document finish() {
    auto& problems = document_.problems;
    problems = std::move(findings_.warnings);
    for (auto& fault : findings_.context.faults) {
      problems.push_back({fault.unknown_key ? Severity::warning : Severity::error,
                          fault.unknown_key ? "IST0133" : "IST0106", "", fault.line, std::move(fault.path), "",
                          std::move(fault.message)});
    }
    const auto object = document_.key.kind.empty() ? "" : document_.key.to_string();
    for (auto& problem : problems) {
      problem.file = file_;
      problem.object = object;
    }
    std::sort(problems.begin(), problems.end(), [](auto& a, auto& b) {
      return std::tie(a.line, a.field, a.message) < std::tie(b.line, b.field, b.message);
    });
    if (document_.has_errors())
      document_.object = std::monostate();
    else
      document_.lines = FieldLines(findings_.context.places);
    return std::move(document_);
  }

  const yaml::Node& node_;
  const std::string& file_;
  Document document_;
  Findings findings_;
  std::int64_t created_ = 0;
};

const yaml::Node* find(const yaml::Node& mapping, std::string_view key, yaml::Kind kind) {
  if (mapping.kind != yaml::Kind::mapping) return nullptr;
  for (const auto& item : mapping.items) {
    if (item.key == key) return item.kind == kind ? &item : nullptr;
  }
  return nullptr;
}

// The items of "kind: List" or "kind: ServiceEntryList"; null for anything else.
const yaml::Node* list_items(const yaml::Node& root) {
  const auto* kind = find(root, "kind", yaml::Kind::scalar);
  return kind != nullptr && kind->text.ends_with("List") ? find(root, "items", yaml::Kind::sequence) : nullptr;
}

std::vector<yaml::Fault> faults_inside(const std::vector<yaml::Fault>& faults, const std::string& prefix) {
  std::vector<yaml::Fault> inside;
  for (const auto& fault : faults) {
    if (!fault.path.starts_with(prefix)) continue;
    inside.push_back(fault);
    inside.back().path.erase(0, prefix.size());
  }
  return inside;
}

}  // namespace

std::string ObjectKey::to_string() const {
  return kind + " " + namespace_name + "/" + name;
}

std::string Problem::to_string() const {
  std::string text = line != 0 ? fmt::format("{}:{}: ", file, line) : file + ": ";
  text += severity == Severity::error ? "error" : "warning";
  if (!code.empty()) text += " " + code;
  for (const auto* part : {&object, &field}) {
    if (!part->empty()) text += ": " + *part;
  }
  return text + ": " + message;
}

bool Document::has_errors() const {
  return std::any_of(problems.begin(), problems.end(), [](auto& p) { return p.severity == Severity::error; });
}

FileContent parse_documents(std::string_view text, const std::string& file) {
  FileContent content;
  const auto stream = yaml::parse(text);
  if (stream.fault) {
    content.failure = Problem{Severity::error, "SLU0004", file, stream.fault->line, "", "", stream.fault->message};
    return content;
  }
  for (const auto& document : stream.documents) {
    const auto& root = document.root;
    if (root.kind == yaml::Kind::null) continue;
    const auto* items = list_items(root);
    if (items == nullptr) {
      content.documents.push_back(ObjectParser(root, file).parse(document.faults));
      continue;
    }
    for (std::size_t i = 0; i < items->items.size(); ++i) {
      auto faults = faults_inside(document.faults, fmt::format("items[{}].", i));
      content.documents.push_back(ObjectParser(items->items[i], file).parse(std::move(faults)));
    }
  }
  return content;
}

Document read_document(const yaml::Node& root, const std::string& source) {
  return ObjectParser(root, source).parse({});
}

}  // namespace sluice::resources
