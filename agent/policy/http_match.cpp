#include "policy/http_match.h"

#include <re2/re2.h>

#include <algorithm>

#include "policy/http_path.h"

namespace sluice {
namespace {

// Bounds what one expression may take when it runs.
constexpr std::int64_t regex_memory_bytes = 1 << 20;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

re2::RE2::Options regex_options() {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(regex_memory_bytes);
  return options;
}

bool equal(std::string_view left, std::string_view right, bool ignore_case) {
  if (!ignore_case) return left == right;
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The first value of a query parameter, as it was sent (not percent-decoded), as Envoy compares it.
std::optional<std::string_view> find_parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const auto pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const auto equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == name) return pair.substr(std::min(equals + 1, pair.size()));
  }
  return std::nullopt;
}

bool is_everything(const StringMatch& uri) {
  return (uri.kind == StringMatch::Kind::prefix && uri.value == "/") ||
         (uri.kind == StringMatch::Kind::regex && (uri.value == ".*" || uri.value == "*"));
}

}  // namespace

std::optional<std::string_view> find_field(std::string_view fields, std::string_view name, std::string& scratch) {
  std::optional<std::string_view> found;
  while (!fields.empty()) {
    const auto end = std::min(fields.find('\n'), fields.size());
    auto line = fields.substr(0, end);
    fields.remove_prefix(std::min(end + 1, fields.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto colon = line.find(':');
    if (colon == line.npos || !equal(line.substr(0, colon), name, true)) continue;
    const auto value = trim(line.substr(colon + 1));
    if (!found) {
      found = value;
      continue;
    }
    if (found->data() != scratch.data()) scratch = *found;
    found = scratch.append(",").append(value);
  }
  return found;
}

std::shared_ptr<const re2::RE2> compile_regex(const std::string& pattern) {
  return std::make_shared<const re2::RE2>(pattern, regex_options());
}

std::string find_regex_fault(const std::string& pattern) {
  const auto regex = compile_regex(pattern);
  return regex->ok() ? std::string() : regex->error();
}

std::string find_substitution_fault(const std::string& pattern, const std::string& substitution) {
  std::string fault;
  const auto regex = compile_regex(pattern);
  return !regex->ok() || regex->CheckRewriteString(substitution, &fault) ? std::string() : fault;
}

TextMatcher::TextMatcher(const StringMatch& match, bool ignore_case) : match_(match), ignore_case_(ignore_case) {
  if (match_.kind != StringMatch::Kind::regex) return;
  regex_ = compile_regex(match_.value);
}

bool TextMatcher::matches(std::string_view text) const {
  switch (match_.kind) {
    case StringMatch::Kind::present:
      return true;
    case StringMatch::Kind::exact:
      return equal(text, match_.value, ignore_case_);
    case StringMatch::Kind::prefix:
      return equal(text.substr(0, match_.value.size()), match_.value, ignore_case_);
    case StringMatch::Kind::regex:
      return regex_->ok() && re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), *regex_);
  }
  return false;
}

HttpMatcher::HttpMatcher(const HttpMatch& match)
    : headers_(compile("headers", match.headers)),
      without_headers_(compile("withoutHeaders", match.without_headers)),
      query_params_(compile("queryParams", match.query_params)) {
  if (match.uri) parts_.emplace_back("uri", TextMatcher(*match.uri, match.ignore_uri_case));
  if (match.scheme) parts_.emplace_back("scheme", TextMatcher(*match.scheme));
  if (match.method) parts_.emplace_back("method", TextMatcher(*match.method));
  if (match.authority) parts_.emplace_back("authority", TextMatcher(*match.authority));
  catch_all_ = (!match.uri || is_everything(*match.uri)) && !match.scheme && !match.method && !match.authority &&
               headers_.empty() && without_headers_.empty() && query_params_.empty();
}

std::vector<HttpMatcher::Named> HttpMatcher::compile(std::string_view kind,
                                                     const std::vector<std::pair<std::string, StringMatch>>& matches) {
  std::vector<Named> compiled;
  compiled.reserve(matches.size());
  for (const auto& [name, match] : matches) {
    compiled.push_back({name, std::string(kind) + "." + name, TextMatcher(match)});
  }
  return compiled;
}

std::string_view HttpMatcher::first_mismatch(const HttpRequest& request) const {
  for (const auto& [field, matcher] : parts_) {
    if (field == "uri" && !has_one_reading(request.path)) return field;
    const auto text = field == "uri"      ? request.path
                      : field == "scheme" ? request.scheme
                      : field == "method" ? request.method
                                          : request.authority;
    if (!matcher.matches(text)) return field;
  }
  std::string scratch;
  for (const auto& header : headers_) {
    const auto value = find_field(request.fields, header.name, scratch);
    if (!value || !header.matcher.matches(*value)) return header.field;
  }
  for (const auto& header : without_headers_) {
    const auto value = find_field(request.fields, header.name, scratch);
    if (value && header.matcher.matches(*value)) return header.field;
  }
  for (const auto& parameter : query_params_) {
    const auto value = find_parameter(request.query, parameter.name);
    if (!value || !parameter.matcher.matches(*value)) return parameter.field;
  }
  return {};
}

}  // namespace sluice
