#include "gateway/gateway.h"

#include <spdlog/spdlog.h>

#include <utility>
#include <vector>

#include "gateway/forwarded_call.h"
#include "serving/control.h"

namespace sluice::gateway {
namespace {

// A worker of the gateway with its way out.
struct Desk {
  serving::Worker& worker;
  std::unique_ptr<serving::Upstreams> upstreams;
};

// Parameters, not captures: a lambda would be gone before its coroutine.
net::Task<void> serve(std::unique_ptr<ForwardedCall> call) {
  co_await call->serve();
  serving::Call::relay(std::move(call));
}

std::unique_ptr<tls::ServerContext> make_context(const settings::Gateway& gateway) {
  const auto& files = gateway.tls;
  if (files.certificate_file.empty()) return nullptr;
  tls::ServerOptions options;
  options.files = {files.certificate_file, files.key_file, files.ca_file, ""};
  return std::make_unique<tls::ServerContext>(std::move(options));
}

class Gateway {
 public:
  Gateway(const settings::GatewaySettings& settings, serving::Control& control, std::unique_ptr<NodeKeyring> keyring)
      : settings_(settings),
        control_(control),
        keyring_(std::move(keyring)),
        headers_(settings.gateway, *keyring_),
        tls_(make_context(settings.gateway)),
        exit_{settings, control.recorder(), headers_, originations_, tls_.get()} {}

  Status read_certificates();
  Status read_policy();
  Status open_upstreams();
  Status listen();
  Status serve_admin(const serving::ServeAdmin& serve);
  void run() {
    control_.run({.beat = {}, .each_second = [this] { do_each_second(); }, .drain = {}});
  }

 private:
  Status listen(Desk& desk, const settings::Listen& listen);
  void do_each_second();
  serving::StatusView status() const;

  const settings::GatewaySettings& settings_;
  serving::Control& control_;
  const std::unique_ptr<NodeKeyring> keyring_;
  HeaderCheck headers_;
  const std::unique_ptr<tls::ServerContext> tls_;  // null without a listener of transport tls
  tls::OriginationContexts originations_;
  const Exit exit_;
  std::string tls_wrong_;  // why the certificates are not what their files say; empty: they are
  std::vector<std::unique_ptr<Desk>> desks_;
  std::shared_ptr<void> admin_;
};

Status Gateway::read_policy() {
  const auto& gateway = settings_.gateway;
  return control_.read_policy(Vantage::gateway(gateway.labels, gateway.namespace_name),
                              [](const std::shared_ptr<const Snapshot>&) {});
}

Status Gateway::open_upstreams() {
  for (const auto& worker : control_.workers()) {
    auto upstreams = serving::Upstreams::open(worker->context(), settings_.gateway.outside);
    if (!upstreams) return upstreams.error().in("gateway");
    desks_.push_back(std::make_unique<Desk>(Desk{*worker, std::move(*upstreams)}));
  }
  return Done{};
}

Status Gateway::read_certificates() {
  if (!tls_) return Done{};
  if (auto done = tls_->reload(); !done) return done.error().in("gateway.tls");
  return Done{};
}

void Gateway::do_each_second() {
  keyring_->reload();
  originations_.reload();
  const auto done = read_certificates();
  if (!done && done.error().message() != tls_wrong_) spdlog::error("{}", done.error().message());
  tls_wrong_ = done ? "" : done.error().message();
}

serving::StatusView Gateway::status() const {
  auto view = control_.status();
  for (auto& line : keyring_->wrong()) view.wrong.push_back(std::move(line));
  if (!tls_wrong_.empty()) view.wrong.push_back(tls_wrong_);
  return view;
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
  desk.worker.accept_all(std::move(*acceptor), [this, raw = &desk, &listen](net::Socket client) {
    return serve(std::make_unique<ForwardedCall>(exit_, raw->worker, *raw->upstreams, listen, std::move(client)));
  });
  return Done{};
}

Status Gateway::serve_admin(const serving::ServeAdmin& serve) {
  auto served = serve(control_.context(), settings_.admin,
                      {.status = [this] { return status(); },
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

  auto keyring = NodeKeyring::open(settings.gateway.node_keys);
  if (!keyring) return keyring.error().in("gateway.node_keys");

  Gateway gateway(settings, **control, std::move(*keyring));
  if (auto done = gateway.read_certificates(); !done) return done;
  if (auto done = gateway.read_policy(); !done) return done;
  if (auto done = gateway.open_upstreams(); !done) return done;
  if (auto done = gateway.listen(); !done) return done;
  if (auto done = gateway.serve_admin(serve_admin); !done) return done;
  gateway.run();
  return Done{};
}

}  // namespace sluice::gateway
