// What a VirtualService's http rule does to a request and its answer, as pure functions of the request's facts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/http_match.h"
#include "policy/routes.h"

namespace sluice {

// Names in lower case.
using HeaderFields = std::vector<std::pair<std::string, std::string>>;

// Location of the 301 that Gateway's httpsRedirect asks for: the same host on port 443, path and query as they are.
std::string https_location(const HttpRequest& request);

// Is a request within the share? `pick` is evenly spread over all values, another one
// for each question.
constexpr bool is_chosen(Share share, std::uint64_t pick) {
  return pick % Share::whole < share.millionths;
}

// What a fault does to one request: first the delay, then the abort.
struct Fault {
  std::uint32_t delay_ms = 0;
  const HttpFault::Abort* abort = nullptr;
};
Fault choose_fault(const HttpFault& fault, std::uint64_t delay_pick, std::uint64_t abort_pick);

// Removes, sets, adds, in this order. Operations on the authority ("host", ":authority") are left out:
// find_authority().
void apply_operations(const HeaderOperations& operations, HeaderFields& fields);
// What is set, or else added, for "host" or ":authority"; null: nothing.
const std::string* find_authority(const HeaderOperations& operations);

// The answer's side of CORS (Fetch standard section 3.2) for one request.
struct CorsAnswer {
  enum class Kind : std::uint8_t {
    pass,       // send the request on; `fields` go into its answer, in the place of its own ones of these names
    preflight,  // answer 200 with `fields`, and do not send it on
  };
  Kind kind = Kind::pass;
  HeaderFields fields;  // "vary" goes besides the answer's own ones
};

// What one rule does, compiled. Immutable.
class HttpActions {
 public:
  // Refers to `rule`.
  explicit HttpActions(const HttpRule& rule);

  // Of a rule with a redirect. `match`: what took the request, null for none; `port`: the listener's.
  std::string location(const HttpRequest& request, const HttpMatch* match, std::uint16_t port) const;

  // The target that goes upstream: path with query. nullopt, and the request is to be refused: what was rewritten has
  // not one reading any more (http_path.h), or is longer than 64 KiB.
  std::optional<std::string> rewrite_target(const HttpRequest& request, const HttpMatch* match) const;
  // The authority that goes upstream: what the destination's `headers` set, else that of `rewrite`, else what the
  // rule's `headers` set, else the request's.
  std::string_view rewrite_authority(const HttpRequest& request, const Destination& destination) const;

  // Both operations: the destination's, then the rule's.
  void alter_request(const Destination& destination, HeaderFields& fields) const;
  void alter_response(const Destination& destination, HeaderFields& fields) const;

  // Only with a corsPolicy; else pass, with nothing.
  CorsAnswer answer_cors(const HttpRequest& request) const;

  // Nothing but timeout and retries is asked: the request goes on as it came.
  bool is_plain() const { return plain_; }

 private:
  bool allows_origin(std::string_view origin) const;

  const HttpRule* rule_;
  std::vector<TextMatcher> origins_;
  bool any_origin_ = false;
  std::shared_ptr<const re2::RE2> rewrite_;
  bool plain_ = false;
};

}  // namespace sluice
