// What would become of one call, step by step, asked of the same code that decides for real.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "policy/policy_objects.h"
#include "policy/snapshot.h"
#include "settings/settings.h"

namespace sluice::cli {

// The call that is asked about.
struct Question {
  std::string pod_namespace;
  std::string pod;                   // for people; may be empty
  std::optional<Labels> pod_labels;  // nullopt: not known
  Sniffed sniffed = Sniffed::tls;
  std::string host;   // normalised; empty when an address is called
  IpAddress address;  // unspecified when a name is called
  std::uint16_t port = 443;
  std::string path = "/";
  std::string method = "GET";
};

// "https://host[:port]", "http://host[:port][/path]", "tls://", "tcp://address:port" or "host:port" (TLS).
Result<Question> parse_destination(std::string_view text);

struct Step {
  std::string what;                 // "policy", "mesh", "gateway", "destination"
  std::string found;                // what counts there
  std::vector<std::string> missed;  // what could have, and why it does not
};

struct Explanation {
  Reason reason = Reason::host_not_registered;
  std::string detail;
  std::vector<Step> steps;

  bool allowed() const { return allows(reason); }
};

// By agent and gateway settings, of which egress.gateways and unrouted, and name, namespace, labels and unrouted count.
Explanation explain(const PolicyObjects& objects, const Question& question, const settings::Egress& egress,
                    const settings::Gateway& gateway);

}  // namespace sluice::cli
