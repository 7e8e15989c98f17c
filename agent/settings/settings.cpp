#include "settings/settings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>

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
  const auto stream = yaml::parse(text);
  if (stream.fault) return located(path, *stream.fault);
  if (stream.documents.empty()) return Error(path + ":1: the file is empty; expected a mapping of sections");
  if (stream.documents.size() > 1) {
    return Error(fmt::format("{}:{}: a second YAML document; expected one", path, stream.documents[1].root.line));
  }
  yaml::Context context;
  context.faults = stream.documents.front().faults;
  auto settings = read(stream.documents.front().root, context);
  const auto first = std::min_element(context.faults.begin(), context.faults.end(),
                                      [](const auto& a, const auto& b) { return a.line < b.line; });
  if (first != context.faults.end()) return located(path, *first);
  if (settings.node.name.empty()) {
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) != 0) return Error::from_errno("read the host name", errno);
    settings.node.name = name.data();
  }
  return settings;
}

Result<std::string> read_file(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::from_errno("open " + path, errno);
  std::string text(yaml::max_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) return Error::from_errno("read " + path, errno != 0 ? errno : EIO);
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

}  // namespace

Result<AgentSettings> parse_agent(std::string_view text, const std::string& path) {
  return parse<AgentSettings>(text, path, read_agent);
}

Result<GatewaySettings> parse_gateway(std::string_view text, const std::string& path) {
  return parse<GatewaySettings>(text, path, read_gateway);
}

Result<AgentSettings> load_agent(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return text.error();
  return parse_agent(*text, path);
}

Result<GatewaySettings> load_gateway(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return text.error();
  return parse_gateway(*text, path);
}

}  // namespace sluice::settings
