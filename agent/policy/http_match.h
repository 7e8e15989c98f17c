// HTTPMatchRequest of a VirtualService, compiled and asked.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/routes.h"

namespace re2 {
class RE2;
}

namespace sluice {

// What rules may look at in one request. Views into its head, which was parsed and found sound.
struct HttpRequest {
  std::string_view method;
  std::string_view authority;  // host, with its port when one was sent
  std::string_view path;       // without query
  std::string_view query;      // without "?"
  std::string_view fields;     // the field lines, "Name: value" CRLF each
  std::string_view scheme = "http";
};

// The field of a request; nullopt: it is not there. The values of several lines are joined by commas (RFC 9110 section
// 5.2), and then kept in `scratch`. `name` in any case.
std::optional<std::string_view> find_field(std::string_view fields, std::string_view name, std::string& scratch);

// An expression of RE2 as rules use them, silent and bounded in memory; never null.
std::shared_ptr<const re2::RE2> compile_regex(const std::string& pattern);
// Does RE2 take `pattern`, in the memory that a match may have? What is wrong with it otherwise; empty: nothing.
std::string find_regex_fault(const std::string& pattern);
// May `substitution` stand for what a sound `pattern` matches? The same.
std::string find_substitution_fault(const std::string& pattern, const std::string& substitution);

// One StringMatch. Immutable; shared by all threads.
class TextMatcher {
 public:
  // `ignore_case` is for exact and prefix. A regex that RE2 does not take matches nothing.
  explicit TextMatcher(const StringMatch& match, bool ignore_case = false);
  bool matches(std::string_view text) const;

 private:
  StringMatch match_;
  bool ignore_case_;
  std::shared_ptr<const re2::RE2> regex_;
};

// The request's side of an HttpMatch: everything but port, source and gateways.
class HttpMatcher {
 public:
  explicit HttpMatcher(const HttpMatch& match);
  // The field that does not match, as Istio's API names it ("uri", "headers.x-env"); empty: all of them match. A path
  // that has not one reading (http_path.h) matches no uri: the server would read another one.
  std::string_view first_mismatch(const HttpRequest& request) const;
  // Every request matches, or none is told apart but by the prefix "/" (or the regex ".*").
  bool is_catch_all() const { return catch_all_; }

 private:
  struct Named {
    std::string name;   // of the header (lower case) or the query parameter
    std::string field;  // "headers.x-env"
    TextMatcher matcher;
  };
  static std::vector<Named> compile(std::string_view kind,
                                    const std::vector<std::pair<std::string, StringMatch>>& matches);

  std::vector<std::pair<std::string_view, TextMatcher>> parts_;  // uri, scheme, method, authority
  std::vector<Named> headers_;
  std::vector<Named> without_headers_;
  std::vector<Named> query_params_;
  bool catch_all_ = false;
};

}  // namespace sluice
