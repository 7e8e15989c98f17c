// What a client of HTTP/2 sends, through nghttp2 into heads as the ingress keeps them, and from these into what goes
// upstream. The input: frames, behind the preface and empty SETTINGS.
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>

#include "ingress/http2_common.h"
#include "tests/fuzz/fuzz.h"
#include "wire/http_head.h"

namespace sluice::ingress {
namespace {

using test::require;

constexpr std::size_t max_head_bytes = 8UL * 1024;

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// No field is more than one line for whoever reads it as HTTP/1.1, and none is of one hop.
void check_fields(const Fields& fields) {
  for (const auto& field : fields) {
    require(is_end_to_end(field.name), "what is of one hop stays there");
    require(!field.name.empty() && field.name.find_first_of(" :\r\n") == field.name.npos, "a name is a name");
    require(field.value.find_first_of(std::string_view("\r\n\0", 3)) == field.value.npos, "a value is one line");
  }
}

struct Reader {
  std::map<std::int32_t, Http2Head> heads;

  void end(std::int32_t id) {
    const auto found = heads.find(id);
    if (found == heads.end()) return;
    auto& head = found->second;
    const auto& lines = head.finish();
    Fields fields;
    HopFields hop;
    read_end_to_end(lines, fields, hop);
    check_fields(fields);
    if (!head.is_too_large()) check_as_text(fields);
    head.clear();
  }

  // As a server upstream reads it.
  static void check_as_text(const Fields& fields) {
    std::string text = "GET / HTTP/1.1\r\nHost: a.example\r\n";
    for (const auto& field : fields) text.append(field.name).append(": ").append(field.value).append("\r\n");
    text += "\r\n";
    const auto parsed = wire::parse_request_head({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    const auto* head = std::get_if<wire::RequestHead>(&parsed);
    if (head == nullptr) {
      require(std::holds_alternative<wire::TooLarge>(parsed), "what HTTP/2 lets through, HTTP/1.1 can say");
      return;
    }
    require(head->framing.kind == wire::Framing::Kind::none, "fields do not frame");
    require(head->wire_bytes == text.size(), "a head is one head");
  }
};

int on_begin(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  static_cast<Reader*>(user)->heads.try_emplace(frame->hd.stream_id, max_head_bytes);
  return 0;
}

int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_bytes,
              const std::uint8_t* value, std::size_t value_bytes, std::uint8_t, void* user) {
  auto& heads = static_cast<Reader*>(user)->heads;
  const auto found = heads.find(frame->hd.stream_id);
  if (found != heads.end()) found->second.add(text_of(name, name_bytes), text_of(value, value_bytes));
  return 0;
}

int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t, const std::uint8_t*,
                      std::size_t, std::uint8_t, void*) {
  return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  if (frame->hd.type == NGHTTP2_HEADERS) static_cast<Reader*>(user)->end(frame->hd.stream_id);
  return 0;
}

const nghttp2_session_callbacks& callbacks() {
  static const auto* callbacks = [] {
    nghttp2_session_callbacks* made = nullptr;
    ::nghttp2_session_callbacks_new(&made);
    ::nghttp2_session_callbacks_set_on_begin_headers_callback(made, on_begin);
    ::nghttp2_session_callbacks_set_on_header_callback(made, on_header);
    ::nghttp2_session_callbacks_set_on_invalid_header_callback(made, on_invalid_header);
    ::nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame);
    return made;
  }();
  return *callbacks;
}

}  // namespace
}  // namespace sluice::ingress

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::ingress;
  Reader reader;
  nghttp2_session* made = nullptr;
  if (::nghttp2_session_server_new(&made, &callbacks(), &reader) != 0) return 0;
  const Http2Session session(made);
  const std::array<nghttp2_settings_entry, 1> entries = {{{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}}};
  ::nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, entries.data(), entries.size());
  constexpr std::string_view opening("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  ::nghttp2_session_mem_recv(made, reinterpret_cast<const std::uint8_t*>(opening.data()), opening.size());
  ::nghttp2_session_mem_recv(made, data, size);
  const std::uint8_t* out = nullptr;
  while (::nghttp2_session_mem_send(made, &out) > 0) {
  }
  return 0;
}
