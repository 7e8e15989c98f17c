#include "observe/audit_line.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>

#include "base/clock.h"
#include "base/sha256.h"
#include "observe/json_text.h"

namespace sluice::observe {
namespace {

// Bounds of texts in bytes, escapes included. Together with at most max_items in a list they keep a line far below
// max_line_bytes.
constexpr std::size_t max_word = 64;
constexpr std::size_t max_name = 255;
constexpr std::size_t max_text = 512;
constexpr std::size_t max_path = 1024;
constexpr std::size_t max_items = 8;

constexpr std::array<std::string_view, 9> event_names = {"open",       "request", "close", "deny", "recovered",
                                                         "checkpoint", "start",   "stop",  "drops"};
constexpr std::array<std::string_view, 3> decision_names = {"allow", "deny", "would_deny"};

// Appends the members of one JSON object; an empty value is left out.
class Members {
 public:
  explicit Members(std::string& out) : out_(out) {}

  void begin() { out_ += '{'; }

  void text(std::string_view key, std::string_view value, std::size_t max_bytes) {
    if (value.empty()) return;
    name(key);
    append_json_text(out_, value, max_bytes);
  }
  // `value` holds nothing that needs escaping.
  void word(std::string_view key, std::string_view value) {
    if (value.empty()) return;
    name(key, "\"");
    out_ += value;
    out_ += '"';
  }
  void raw(std::string_view key, std::string_view json) {
    if (json.empty()) return;
    name(key);
    out_ += json;
  }
  void number(std::string_view key, std::uint64_t value) {
    if (value == 0) return;
    const fmt::format_int text(value);
    raw(key, {text.data(), text.size()});
  }
  void time(std::string_view key, std::int64_t wall_ns) {
    name(key, "\"");
    append_time(out_, wall_ns);
    out_ += '"';
  }
  void list(std::string_view key, const std::vector<std::string>& values, std::size_t max_bytes) {
    if (values.empty()) return;
    name(key, "[");
    for (std::size_t index = 0; index < std::min(values.size(), max_items); ++index) {
      if (index > 0) out_ += ',';
      append_json_text(out_, values[index], max_bytes);
    }
    if (values.size() > max_items) out_ += ",\"\xe2\x80\xa6\"";
    out_ += ']';
  }
  // Opens a member object, whose members go on with the result.
  Members object(std::string_view key) {
    name(key);
    Members members(out_);
    members.begin();
    return members;
  }
  // Members as text.
  void all(std::string_view members) {
    if (!first_) out_ += ',';
    first_ = false;
    out_ += members;
  }
  void end() { out_ += '}'; }

 private:
  // At once, for this is most of what a line is made of: the comma, the key, and how its value begins.
  void name(std::string_view key, std::string_view begin = {}) {
    std::array<char, 32> text;
    auto* at = text.data();
    const auto put = [&](std::string_view part) { at = std::copy(part.begin(), part.end(), at); };
    put(first_ ? "\"" : ",\"");
    put(key);
    put("\":");
    put(begin);
    first_ = false;
    out_.append(text.data(), at);
  }

  std::string& out_;
  bool first_ = true;
};

void add_pod(Members& line, const PodFacts& facts) {
  auto pod = line.object("pod");
  pod.text("namespace", facts.namespace_name, max_name);
  pod.text("name", facts.name, max_name);
  pod.text("uid", facts.uid, max_word);
  pod.text("service_account", facts.service_account, max_name);
  pod.end();
}

void add_process(Members& line, const ProcessFacts& facts) {
  if (facts.pid == 0) return;
  auto process = line.object("process");
  process.raw("pid", fmt::format_int(facts.pid).c_str());
  process.text("comm", facts.comm, max_word);
  process.text("exe", facts.exe, max_path);
  process.text("container", facts.container, max_word);
  process.end();
}

void add_http(Members& line, const HttpFacts& facts) {
  auto http = line.object("http");
  http.text("method", facts.method, max_word);
  http.text("host", facts.host, max_name);
  http.text("path", facts.path, max_path);
  http.number("status", facts.status);
  http.end();
}

void add_who_and_what(Members& line, const Record& record) {
  if (record.pod) add_pod(line, *record.pod);
  add_process(line, record.process);
  if (record.source) line.word("source", record.source->to_string());
  if (record.destination) line.word("destination", record.destination->to_string());
  line.text("protocol", record.protocol, max_word);
  line.text("sni", record.sni, max_name);
  line.list("alpn", record.alpn, max_word);
  line.list("tls_versions", record.tls_versions, max_word);
  line.text("ja4", record.ja4, max_word);
  if (record.ech) line.raw("ech", "true");
  if (record.http) add_http(line, *record.http);
}

void add_decision(Members& line, const Record& record) {
  if (record.verdict) line.word("verdict", to_string(*record.verdict));
  if (record.reason) line.word("reason", to_string(*record.reason));
  line.text("detail", record.detail, max_text);
  line.text("rule", record.rule, max_text);
  line.text("route", record.route, max_text);
  line.text("gateway", record.gateway, max_text);
  line.text("upstream", record.upstream, max_text);
}

void add_totals(Members& line, const Record& record) {
  line.number("bytes_sent", record.bytes_sent);
  line.number("bytes_received", record.bytes_received);
  if (record.duration_ms && std::isfinite(*record.duration_ms)) {
    line.raw("duration_ms", fmt::format(FMT_COMPILE("{:.3f}"), *record.duration_ms));
  }
  line.text("datapath", record.datapath, max_word);
  line.text("close_reason", record.close_reason, max_word);
  if (record.count != 1 || record.event == Event::drops) line.raw("count", fmt::format_int(record.count).c_str());
}

}  // namespace

std::string_view to_string(Event event) {
  return event_names[static_cast<std::size_t>(event)];
}
std::string_view to_string(Decision decision) {
  return decision_names[static_cast<std::size_t>(decision)];
}

void append_line(std::string& out, const LineFrame& frame, const Record& record) {
  Members line(out);
  line.begin();
  line.raw("v", "1");
  line.raw("seq", fmt::format_int(frame.seq).c_str());
  line.time("time", frame.wall_ns);
  line.word("event", to_string(record.event));
  line.text("id", record.id, max_word);
  line.raw("node", frame.node);
  line.raw("role", frame.role);
  if (record.facts.empty()) {
    add_who_and_what(line, record);
    add_decision(line, record);
  } else {
    line.all(record.facts);
  }
  add_totals(line, record);
  line.number("every", frame.every);
  line.word("head", frame.head);
  line.word("mac", frame.mac);
  line.word("prev", frame.prev);
  line.end();
  out += '\n';
}

std::string facts_of(const Record& record) {
  std::string text;
  text.reserve(512);
  Members facts(text);
  add_who_and_what(facts, record);
  add_decision(facts, record);
  text.shrink_to_fit();
  return text;
}

std::string name_as_json(std::string_view name) {
  std::string text;
  append_json_text(text, name, max_name);
  return text;
}

std::string checkpoint_mac(ByteSpan key, std::string_view node, std::string_view role, std::uint64_t seq,
                           std::uint32_t every, std::string_view head) {
  // JSON text holds no newline, so no two checkpoints share a message.
  const auto message = fmt::format("sluice audit checkpoint 1\n{}\n{}\n{}\n{}\n{}", node, role, seq, every, head);
  return to_hex(tls::hmac_sha256(key, {reinterpret_cast<const std::uint8_t*>(message.data()), message.size()}));
}

}  // namespace sluice::observe
