#include "settings/settings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "settings/read_settings.h"

namespace sluice::settings {
namespace {

Error located(const std::string& path, const yaml::Fault& fault) {
  return Error(
      fmt::format("{}:{}: {}{}{}", path, fault.line, fault.path, fault.path.empty() ? "" : ": ", fault.message));
}

template <typename Settings>
Result<Settings> parse(std::string_view text, const std::string& path,
                       Settings (*read)(const yaml::Node&, yaml::Context&)) {
  const auto document = parse_document(text, path);
  if (!document) return document.error();
  yaml::Context context;
  context.faults = document->faults;
  auto settings = read(document->root, context);
  if (const auto error = first_error(path, context.faults)) return *error;
  if (settings.node.name.empty()) {
    const char* told = ::getenv("NODE_NAME");  // NOLINT(concurrency-mt-unsafe): nobody sets any
    if (told != nullptr) settings.node.name = told;
  }
  if (settings.node.name.empty()) {
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) != 0) return Error::from_errno("read the host name", errno);
    settings.node.name = name.data();
  }
  return settings;
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::from_errno("open " + path, errno);
  std::string text(max_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) return Error::from_errno("read " + path, errno != 0 ? errno : EIO);
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > max_bytes) return Error(fmt::format("{}:1: larger than {} KiB", path, max_bytes / 1024));
  return text;
}

Result<yaml::Document> parse_document(std::string_view text, const std::string& path) {
  auto stream = yaml::parse(text);
  if (stream.fault) return located(path, *stream.fault);
  if (stream.documents.empty()) return Error(path + ":1: the file is empty; expected a mapping of sections");
  if (stream.documents.size() > 1) {
    return Error(fmt::format("{}:{}: a second YAML document; expected one", path, stream.documents[1].root.line));
  }
  return std::move(stream.documents.front());
}

std::optional<Error> first_error(const std::string& path, const std::vector<yaml::Fault>& faults) {
  const auto first =
      std::min_element(faults.begin(), faults.end(), [](const auto& a, const auto& b) { return a.line < b.line; });
  if (first == faults.end()) return std::nullopt;
  return located(path, *first);
}

Result<AgentSettings> parse_agent(std::string_view text, const std::string& path) {
  return parse<AgentSettings>(text, path, read_agent);
}

Result<GatewaySettings> parse_gateway(std::string_view text, const std::string& path) {
  return parse<GatewaySettings>(text, path, read_gateway);
}

Result<IngressSettings> parse_ingress(std::string_view text, const std::string& path) {
  return parse<IngressSettings>(text, path, read_ingress);
}

Result<AgentSettings> load_agent(const std::string& path) {
  const auto text = read_file(path, yaml::max_bytes);
  if (!text) return text.error();
  return parse_agent(*text, path);
}

Result<GatewaySettings> load_gateway(const std::string& path) {
  const auto text = read_file(path, yaml::max_bytes);
  if (!text) return text.error();
  return parse_gateway(*text, path);
}

Result<IngressSettings> load_ingress(const std::string& path) {
  const auto text = read_file(path, yaml::max_bytes);
  if (!text) return text.error();
  return parse_ingress(*text, path);
}

}  // namespace sluice::settings
