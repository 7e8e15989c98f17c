// A connection that is relayed: TLS that is passed through by its SNI, or what a TCP server takes, plain or in TLS that
// ends here.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "ingress/plan.h"
#include "serving/call.h"

namespace sluice::ingress {

class Desk;
struct Target;

class RelayedCall final : public serving::Call {
 public:
  // `plan` has the listener and the server. Nothing of the socket was taken.
  RelayedCall(Desk& desk, std::shared_ptr<const Plan> plan, const IngressListener& listener,
              const IngressServer& server, std::string sni, net::Socket client);

  net::Task<void> serve();

  bool still_allowed(const Snapshot& snapshot) const override;

 private:
  net::Task<std::optional<serving::Refusal>> end_tls();
  std::optional<serving::Refusal> decide(Sniffed sniffed) override;
  net::Task<std::optional<serving::Refusal>> connect() override;
  std::optional<std::string> find_way(const Snapshot&, const sluice::Request&, const Verdict&) const override {
    return way_;
  }

  Desk& desk_;
  const std::shared_ptr<const Plan> plan_;
  const IngressListener& listener_;
  const IngressServer& server_;
  std::unique_ptr<Target> target_;
};

}  // namespace sluice::ingress
