#include "cli/serve_admin.h"

#include <boost/json.hpp>
#include <utility>

#include "admin/server.h"

namespace sluice::cli {
namespace {

namespace json = boost::json;

json::object to_json(const resources::Problem& problem) {
  return {{"severity", problem.severity == resources::Severity::error ? "error" : "warning"},
          {"code", problem.code},
          {"file", problem.file},
          {"line", problem.line},
          {"field", problem.field},
          {"object", problem.object},
          {"message", problem.message}};
}

json::object to_json(const serving::PolicyView& policy) {
  json::array problems;
  for (const auto& problem : policy.problems) problems.push_back(to_json(problem));
  return {{"generation", policy.generation},
          {"services", policy.services},
          {"hosts", policy.hosts},
          {"problems", std::move(problems)}};
}

json::object to_json(const serving::InterfaceView& interface) {
  return {{"name", interface.name}, {"ifindex", interface.ifindex}, {"kind", interface.kind}, {"pod", interface.pod}};
}

json::object to_json(const observe::AuditState& audit) {
  return {
      {"path", audit.path}, {"lines", audit.lines}, {"drops", audit.drops}, {"seq", audit.seq}, {"head", audit.head}};
}

json::object to_json(const serving::Flow& flow) {
  return {{"id", flow.id},
          {"pod", flow.pod},
          {"source", flow.source},
          {"destination", flow.destination},
          {"host", flow.host},
          {"verdict", flow.verdict},
          {"rule", flow.rule},
          {"gateway", flow.gateway},
          {"datapath", flow.datapath},
          {"bytes_sent", flow.bytes_sent},
          {"bytes_received", flow.bytes_received},
          {"age_s", flow.age_s}};
}

json::object to_json(const std::map<std::string, std::uint64_t>& counts) {
  json::object object;
  for (const auto& [name, count] : counts) object[name] = count;
  return object;
}

}  // namespace

json::value to_json(const serving::StatusView& status) {
  json::array wrong(status.wrong.begin(), status.wrong.end());
  json::array interfaces;
  for (const auto& interface : status.interfaces) interfaces.push_back(to_json(interface));
  return json::object{{"role", status.role},
                      {"node", status.node},
                      {"version", status.version},
                      {"healthy", status.wrong.empty()},
                      {"wrong", std::move(wrong)},
                      {"uptime_s", status.uptime_s},
                      {"policy", to_json(status.policy)},
                      {"interfaces", std::move(interfaces)},
                      {"connections", json::object{{"open", status.connections_open}}},
                      {"verdicts", to_json(status.verdicts)},
                      {"reasons", to_json(status.reasons)},
                      {"audit", to_json(status.audit)}};
}

json::value to_json(const std::vector<serving::Flow>& flows) {
  json::array array;
  array.reserve(flows.size());
  for (const auto& flow : flows) array.push_back(to_json(flow));
  return array;
}

Result<std::shared_ptr<void>> serve_admin(boost::asio::io_context& control, const settings::Admin& settings,
                                          serving::RoleViews views) {
  struct Servers {
    std::unique_ptr<admin::Server> local;
    std::unique_ptr<admin::Server> metrics;
  };
  auto servers = std::make_shared<Servers>();
  if (settings.metrics_listen) {
    auto opened = admin::Server::open_metrics(control, *settings.metrics_listen, views.metrics, views.not_ready);
    if (!opened) return opened.error().in("metrics_listen");
    servers->metrics = std::move(*opened);
  }
  auto opened = admin::Server::open(control, settings.socket,
                                    {.status = [status = std::move(views.status)] { return to_json(status()); },
                                     .flows = [flows = std::move(views.flows)] { return to_json(flows()); },
                                     .metrics = std::move(views.metrics),
                                     .not_ready = std::move(views.not_ready)});
  if (!opened) return opened.error();
  servers->local = std::move(*opened);
  return std::shared_ptr<void>(std::move(servers));
}

}  // namespace sluice::cli
