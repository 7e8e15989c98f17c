#include "gateway/gateway.h"

#include <utility>
#include <vector>

#include "gateway/forwarded_call.h"
#include "net/resolver.h"
#include "serving/control.h"

namespace sluice::gateway {
namespace {

// A worker of the gateway with its resolver.
struct Desk {
  serving::Worker& worker;
  std::unique_ptr<net::Resolver> resolver;
};

// The call lives in this frame. Parameters, not captures: a lambda would be gone before its coroutine.
net::Task<void> serve(const Exit& exit, Desk& desk, const settings::Listen& listen, net::Tcp::socket client) {
  ForwardedCall call(exit, desk.worker, *desk.resolver, listen, std::move(client));
  co_await call.serve();
}

class Gateway {
 public:
  Gateway(const settings::GatewaySettings& settings, serving::Control& control)
      : settings_(settings), control_(control), exit_{settings, control.recorder()} {}

  Status read_policy();
  Status open_resolvers();
  Status listen();
  Status serve_admin(const serving::ServeAdmin& serve);
  void run() { control_.run({}); }

 private:
  Status listen(Desk& desk, const settings::Listen& listen);

  const settings::GatewaySettings& settings_;
  serving::Control& control_;
  const Exit exit_;
  std::vector<std::unique_ptr<Desk>> desks_;
  std::shared_ptr<void> admin_;
};

Status Gateway::read_policy() {
  return control_.read_policy([](const std::shared_ptr<const Snapshot>&) {});
}

Status Gateway::open_resolvers() {
  for (const auto& worker : control_.workers()) {
    auto resolver = net::Resolver::open(worker->context(), {.servers = settings_.gateway.resolvers});
    if (!resolver) return resolver.error().in("resolver");
    desks_.push_back(std::make_unique<Desk>(Desk{*worker, std::move(*resolver)}));
  }
  return Done{};
}

Status Gateway::listen() {
  for (const auto& desk : desks_) {
    for (const auto& listen_on : settings_.gateway.listen) {
      if (auto done = listen(*desk, listen_on); !done) return done;
    }
  }
  return Done{};
}

Status Gateway::listen(Desk& desk, const settings::Listen& listen) {
  auto acceptor = net::listen(desk.worker.context(), listen.address, {.reuse_port = true});
  if (!acceptor) return acceptor.error();
  desk.worker.accept_all(std::move(*acceptor), [this, raw = &desk, &listen](net::Tcp::socket client) {
    return serve(exit_, *raw, listen, std::move(client));
  });
  return Done{};
}

Status Gateway::serve_admin(const serving::ServeAdmin& serve) {
  auto served = serve(control_.context(), settings_.admin.socket,
                      {.status = [this] { return control_.status(); },
                       .flows = [this] { return control_.flows(); },
                       .metrics = [this] { return control_.metrics().render(); },
                       .not_ready = [this] { return control_.not_ready(); }});
  if (!served) return served.error().in("admin");
  admin_ = std::move(*served);
  return Done{};
}

}  // namespace

Status run_gateway(const settings::GatewaySettings& settings, const std::string& version,
                   const serving::ServeAdmin& serve_admin) {
  auto control = serving::Control::open(
      {"gateway", version, settings.node, settings.resources, settings.limits, settings.audit, settings.admin});
  if (!control) return control.error();

  Gateway gateway(settings, **control);
  if (auto done = gateway.read_policy(); !done) return done;
  if (auto done = gateway.open_resolvers(); !done) return done;
  if (auto done = gateway.listen(); !done) return done;
  if (auto done = gateway.serve_admin(serve_admin); !done) return done;
  gateway.run();
  return Done{};
}

}  // namespace sluice::gateway
