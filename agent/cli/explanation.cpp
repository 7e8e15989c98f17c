#include "cli/explanation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/url.hpp>
#include <charconv>

#include "egress/way.h"
#include "gateway/outgoing.h"
#include "policy/near_miss.h"
#include "wire/host_name.h"

namespace sluice::cli {
namespace {

constexpr std::size_t max_missed = 10;

constexpr std::string_view protocol_name(Protocol protocol) {
  constexpr std::string_view names[] = {"HTTP", "HTTP2", "GRPC", "HTTPS", "TLS", "MONGO", "TCP"};
  return names[static_cast<std::size_t>(protocol)];
}

constexpr std::string_view resolution_name(Resolution resolution) {
  constexpr std::string_view names[] = {"NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"};
  return names[static_cast<std::size_t>(resolution)];
}

// One call on its way through the steps.
class Walk {
 public:
  Walk(const PolicyObjects& objects, const Question& question, const settings::Egress& egress,
       const settings::Gateway& gateway)
      : question_(question),
        egress_(egress),
        gateway_(gateway),
        mesh_(Snapshot::compile(objects, Vantage::mesh())),
        exit_(Snapshot::compile(objects, Vantage::gateway(gateway.labels, gateway.namespace_name))),
        http_{question.method, question.host, question.path, {}, {}} {}

  Explanation go() {
    if (step_policy() && step_mesh() && step_gateway()) explanation_.reason = reached_;
    return std::move(explanation_);
  }

 private:
  Request request() const {
    return {question_.pod_namespace, question_.address, question_.port, question_.sniffed, question_.host};
  }
  Snapshot::Caller caller(std::uint16_t gateway_port) const {
    return {question_.pod_labels ? &*question_.pod_labels : nullptr, gateway_port,
            question_.sniffed == Sniffed::http ? &http_ : nullptr, 0};
  }
  Step& begin(std::string what) { return explanation_.steps.emplace_back(Step{std::move(what), {}, {}}); }
  bool deny(Reason reason, std::string detail) {
    explanation_.reason = reason;
    explanation_.detail = std::move(detail);
    return false;
  }

  bool step_policy() {
    auto& step = begin("policy");
    verdict_ = mesh_->decide(request());
    for (const auto& miss : near_misses(*mesh_, request(), max_missed)) {
      step.missed.push_back(fmt::format("ServiceEntry {}: {}", miss.rule, miss.why));
    }
    if (!verdict_.allowed()) {
      step.found = "no ServiceEntry allows it";
      return deny(verdict_.reason, {});
    }
    step.found = fmt::format("ServiceEntry {} registers {} on port {} ({})", verdict_.service->rule(),
                             fmt::join(verdict_.service->hosts, ", "), verdict_.port->number,
                             protocol_name(verdict_.port->protocol));
    return true;
  }

  void add_misses(Step& step, const Snapshot& snapshot, const Verdict& verdict, std::uint16_t gateway_port) const {
    for (const auto& miss : snapshot.routing().misses(snapshot.route_query(request(), verdict, caller(gateway_port)))) {
      if (step.missed.size() == max_missed) break;
      step.missed.push_back(fmt::format("VirtualService {}: {}", miss.rule, miss.why));
    }
  }

  bool step_mesh() {
    auto& step = begin("mesh");
    add_misses(step, *mesh_, verdict_, 0);
    const auto route = mesh_->route(request(), verdict_, caller(0));
    const auto way = egress::choose_way(route, request(), verdict_, egress_);
    if (const auto* none = std::get_if<egress::NoWay>(&way)) {
      step.found = none->detail;
      return deny(Reason::no_gateway_route, none->detail);
    }
    if (const auto* direct = std::get_if<egress::Direct>(&way)) {
      step.found = fmt::format("{}: straight to the destination, by no gateway", name_of(direct->route));
      by_gateway_ = false;
      return true;
    }
    const auto& to = std::get<egress::ByGateway>(way);
    gateway_port_ = to.port;
    step.found =
        fmt::format("{}: to gateway {}, port {}", name_of(to.route), egress_.gateways[to.gateway].name, to.port);
    return true;
  }

  bool step_gateway() {
    const auto& snapshot = by_gateway_ ? *exit_ : *mesh_;
    const auto verdict = snapshot.decide(request());
    reached_ = by_gateway_ ? Reason::registered : Reason::direct;
    gateway::Outgoing outgoing;
    outgoing.service = verdict.service;
    outgoing.port = verdict.port;
    outgoing.host = question_.host;
    if (by_gateway_) {
      auto& step = begin("gateway");
      add_misses(step, snapshot, verdict, gateway_port_);
      const auto route = snapshot.route(request(), verdict, caller(gateway_port_));
      auto chosen = gateway::choose_outgoing(snapshot, route, request(), verdict, gateway_.unrouted);
      if (const auto* none = std::get_if<gateway::NoOutgoing>(&chosen)) {
        step.found = none->detail;
        return deny(Reason::no_gateway_route, none->detail);
      }
      outgoing = std::get<gateway::Outgoing>(std::move(chosen));
      step.found = fmt::format("{}: to {}", name_of(outgoing.route),
                               outgoing.host.empty() ? "ServiceEntry " + outgoing.service->rule() : outgoing.host);
    }
    begin("destination").found = destination_text(outgoing);
    return true;
  }

  std::string destination_text(const gateway::Outgoing& outgoing) const {
    const auto& service = *outgoing.service;
    std::string text;
    if (!service.endpoints.empty()) {
      text = fmt::format("one of {} endpoints of ServiceEntry {}", service.endpoints.size(), service.rule());
    } else if (!outgoing.host.empty()) {
      text = fmt::format("the addresses that {} resolves to, port {}", outgoing.host, outgoing.port->target_port);
    } else if (service.resolution == Resolution::none) {
      text = fmt::format("the address that was dialled, port {}", question_.port);
    } else {
      text = fmt::format("the addresses of {}, port {}", fmt::join(service.hosts, ", "), outgoing.port->target_port);
    }
    text += fmt::format(" (resolution {})", resolution_name(service.resolution));
    if (by_gateway_ && outgoing.origination()) text += ", in TLS that the gateway begins (DestinationRule)";
    return text;
  }

  static std::string name_of(const std::string& route) {
    return route == "default" ? "no VirtualService applies" : "VirtualService " + route;
  }

  const Question& question_;
  const settings::Egress& egress_;
  const settings::Gateway& gateway_;
  const std::shared_ptr<const Snapshot> mesh_;
  const std::shared_ptr<const Snapshot> exit_;
  const HttpRequest http_;
  Verdict verdict_;
  bool by_gateway_ = true;
  std::uint16_t gateway_port_ = 0;
  Reason reached_ = Reason::registered;
  Explanation explanation_;
};

struct Scheme {
  std::string_view name;
  Sniffed sniffed;
  std::uint16_t port;  // 0: has to be given
};
constexpr Scheme schemes[] = {
    {"https", Sniffed::tls, 443}, {"tls", Sniffed::tls, 443}, {"http", Sniffed::http, 80}, {"tcp", Sniffed::none, 0}};

}  // namespace

Result<Question> parse_destination(std::string_view text) {
  const std::string whole = text.find("://") == text.npos ? "tls://" + std::string(text) : std::string(text);
  const auto parsed = boost::urls::parse_uri(whole);
  const auto expected = [&](std::string_view what) { return Error(fmt::format("--to {}: expected {}", text, what)); };
  if (!parsed) return expected("https://HOST[:PORT], http://HOST[:PORT][/PATH], tcp://ADDRESS:PORT or HOST:PORT");
  const auto* scheme = std::find_if(std::begin(schemes), std::end(schemes),
                                    [&](const Scheme& one) { return std::string_view(parsed->scheme()) == one.name; });
  if (scheme == std::end(schemes)) return expected("one of the schemes https, http, tls, tcp");
  Question question;
  question.sniffed = scheme->sniffed;
  question.port = parsed->has_port() ? parsed->port_number() : scheme->port;
  if (question.port == 0) return expected("a port");
  const std::string host = parsed->host_address();
  if (const auto address = IpAddress::parse(host)) question.address = *address;
  auto name = wire::normalise_host(host);
  if (!name) return expected("the name of a host");
  const bool by_address = !question.address.is_unspecified();
  if (by_address && question.sniffed == Sniffed::tls) return expected("a name: TLS is judged by its SNI");
  if (!by_address || question.sniffed == Sniffed::http) question.host = *std::move(name);
  if (question.sniffed == Sniffed::none && !by_address)
    return expected("an address: TCP is judged by address and port");
  if (!parsed->path().empty()) question.path = parsed->path();
  return question;
}

Explanation explain(const PolicyObjects& objects, const Question& question, const settings::Egress& egress,
                    const settings::Gateway& gateway) {
  return Walk(objects, question, egress, gateway).go();
}

}  // namespace sluice::cli
