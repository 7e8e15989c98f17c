#include "ingress/http1_text.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <array>

namespace sluice::ingress {
namespace {

std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Path and query of a target in absolute-form ("http://host/a?b" is "/a?b"), or the target itself.
std::string_view path_of(std::string_view target, Request& request) {
  const auto scheme = target.find("://");
  if (target.starts_with('/') || scheme == std::string_view::npos) return target;
  const auto path = target.find_first_of("/?", scheme + 3);
  if (path == std::string_view::npos) return request.method == "OPTIONS" ? "*" : "/";
  if (target[path] == '/') return target.substr(path);
  // "http://host?b": the slash is put where the host's last byte was; the authority is that of the Host field.
  auto* slash = request.text.data() + (target.data() - request.text.data()) + path - 1;
  *slash = '/';
  return target.substr(path - 1);
}

}  // namespace

void write_status(net::Channel& channel, unsigned status) {
  if (status == 200) return channel.write("HTTP/1.1 200 OK\r\n");
  std::array<char, 128> line{};
  const auto end =
      fmt::format_to_n(line.data(), line.size(), FMT_COMPILE("HTTP/1.1 {:03} {}\r\n"), status, reason_phrase(status));
  channel.write(std::string_view(line.data(), end.size));
}

void write_field(net::Channel& channel, std::string_view name, std::string_view value) {
  channel.write(name);
  channel.write(": ");
  channel.write(value);
  channel.write("\r\n");
}

void write_fields(net::Channel& channel, const Fields& fields) {
  for (const auto& field : fields) write_field(channel, field.name, field.value);
}

void write_chunk(net::Channel& channel, ByteSpan content) {
  std::array<char, 32> line{};
  const auto end = fmt::format_to_n(line.data(), line.size(), FMT_COMPILE("{:x}\r\n"), content.size());
  channel.write(std::string_view(line.data(), end.size));
  channel.write(content);
  channel.write("\r\n");
}

void read_request(const wire::RequestHead& head, ByteSpan bytes, Request& request) {
  request.text.assign(as_text(bytes));
  const std::string_view text = request.text;
  request.method = text.substr(0, head.method.size());
  request.lines = field_lines({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  request.host = head.authority;
  request.expects_continue = head.expects_continue;
  read_end_to_end(request.lines, request.fields, request.hop);
  if (!head.upgrade) request.hop.upgrade = {};
  request.authority = request.hop.host;
  request.target = path_of(text.substr(head.method.size() + 1, head.target.size()), request);
}

std::string_view field_lines(ByteSpan head) {
  const auto text = as_text(head);
  const auto start = text.find("\r\n") + 2;
  return text.substr(start, text.size() - start - 2);
}

}  // namespace sluice::ingress
