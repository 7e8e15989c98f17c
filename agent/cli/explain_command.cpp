#include "cli/explain_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json.hpp>
#include <memory>

#include "cli/explanation.h"
#include "cli/role_command.h"
#include "sources/file_source.h"

namespace sluice::cli {
namespace {

struct Options {
  std::string pod_namespace;
  std::string pod;
  std::vector<std::string> labels;
  std::string to;
  std::vector<std::string> resources;
  std::string agent_settings;
  std::string gateway_settings;
  std::string unrouted;
  std::string output = "text";
};

// "a=b,c=d" and several of them.
Result<Labels> parse_labels(const std::vector<std::string>& texts) {
  Labels labels;
  for (const auto& text : texts) {
    const auto equals = text.find('=');
    if (equals == text.npos || equals == 0) return Error("--labels " + text + ": expected KEY=VALUE");
    labels[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return labels;
}

// Without settings every Service of the cluster that rules lead to is taken for a gateway of that name; the first one
// is the default.
settings::Egress assume_egress(const PolicyObjects& objects) {
  settings::Egress egress;
  const auto add = [&](const std::string& name) {
    const auto same = [&](const settings::GatewayTarget& one) { return one.name == name; };
    if (!std::any_of(egress.gateways.begin(), egress.gateways.end(), same)) {
      egress.gateways.push_back({name, {}, settings::Transport::proxy});
    }
  };
  const auto add_all = [&](const auto& rules) {
    for (const auto& rule : rules) {
      for (const auto& destination : rule.destinations) {
        if (destination.host.ends_with(".svc.cluster.local")) add(destination.host);
      }
    }
  };
  for (const auto& service : objects.virtual_services) {
    add_all(service.tls);
    add_all(service.tcp);
    add_all(service.http);
  }
  if (egress.gateways.empty()) add("the default gateway");
  return egress;
}

// Without settings the gateway is what the first Gateway that a VirtualService names selects.
settings::Gateway assume_gateway(const PolicyObjects& objects) {
  settings::Gateway gateway;
  gateway.namespace_name = "istio-system";
  for (const auto& service : objects.virtual_services) {
    for (const auto& name : service.gateways) {
      const auto found = std::find_if(objects.gateways.begin(), objects.gateways.end(),
                                      [&](const Gateway& one) { return one.object.to_string() == name; });
      if (found == objects.gateways.end()) continue;
      gateway.labels = found->selector;
      gateway.namespace_name = found->object.namespace_name;
      return gateway;
    }
  }
  if (!objects.gateways.empty()) gateway.labels = objects.gateways.front().selector;
  return gateway;
}

Result<settings::Egress> read_egress(const Options& options, const PolicyObjects& objects) {
  static const std::map<std::string, settings::Unrouted> choices = {{"gateway", settings::Unrouted::gateway},
                                                                    {"direct", settings::Unrouted::direct},
                                                                    {"deny", settings::Unrouted::deny}};
  auto egress = assume_egress(objects);
  if (!options.agent_settings.empty()) {
    auto settings = settings::load_agent(options.agent_settings);
    if (!settings) return settings.error();
    egress = std::move(settings->egress);
  }
  if (!options.unrouted.empty()) egress.unrouted = choices.at(options.unrouted);
  return egress;
}

Result<settings::Gateway> read_gateway(const Options& options, const PolicyObjects& objects) {
  if (options.gateway_settings.empty()) return assume_gateway(objects);
  auto settings = settings::load_gateway(options.gateway_settings);
  if (!settings) return settings.error();
  return std::move(settings->gateway);
}

std::string as_text(const Options& options, const Explanation& explanation) {
  const auto pod =
      options.pod.empty() ? "any pod of " + options.pod_namespace : options.pod_namespace + "/" + options.pod;
  std::string text = fmt::format("{} to {}\n", pod, options.to);
  for (const auto& step : explanation.steps) {
    text += fmt::format("  {:<12}{}\n", step.what, step.found);
    for (const auto& missed : step.missed) text += fmt::format("  {:<14}not {}\n", "", missed);
  }
  text += fmt::format("{}: {}", explanation.allowed() ? "allowed" : "denied", to_string(explanation.reason));
  if (!explanation.detail.empty()) text += fmt::format(" ({})", explanation.detail);
  return text + "\n";
}

boost::json::value as_json(const Options& options, const Explanation& explanation) {
  boost::json::array steps;
  for (const auto& step : explanation.steps) {
    steps.push_back({{"step", step.what}, {"found", step.found}, {"missed", boost::json::value_from(step.missed)}});
  }
  return {{"namespace", options.pod_namespace},
          {"pod", options.pod},
          {"to", options.to},
          {"verdict", explanation.allowed() ? "allow" : "deny"},
          {"reason", to_string(explanation.reason)},
          {"detail", explanation.detail},
          {"steps", std::move(steps)}};
}

int run(const Options& options) {
  auto question = parse_destination(options.to);
  if (!question) return bad_input(question.error());
  question->pod_namespace = options.pod_namespace;
  question->pod = options.pod;
  if (!options.labels.empty()) {
    auto labels = parse_labels(options.labels);
    if (!labels) return bad_input(labels.error());
    question->pod_labels = std::move(*labels);
  }
  auto source = sources::FileSource::open(options.resources);
  if (!source) return bad_input(source.error());
  (*source)->reload();
  for (const auto& problem : (*source)->problems()) {
    if (problem.severity == resources::Severity::error) fmt::print(stderr, "{}\n", problem.to_string());
  }
  const auto objects = (*source)->registry().policy();
  const auto egress = read_egress(options, objects);
  if (!egress) return bad_input(egress.error());
  const auto gateway = read_gateway(options, objects);
  if (!gateway) return bad_input(gateway.error());
  const auto explanation = explain(objects, *question, *egress, *gateway);
  if (options.output == "json") {
    fmt::print("{}\n", boost::json::serialize(as_json(options, explanation)));
  } else {
    fmt::print("{}", as_text(options, explanation));
  }
  return explanation.allowed() ? 0 : 1;
}

}  // namespace

void add_explain_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("explain", "May a pod make this call, by which rules, and which way");
  auto options = std::make_shared<Options>();
  command->add_option("--namespace", options->pod_namespace, "The pod's namespace")->required();
  command->add_option("--pod", options->pod, "The pod's name");
  command->add_option("--labels", options->labels, "The pod's labels, KEY=VALUE[,KEY=VALUE]")->delimiter(',');
  command
      ->add_option("--to", options->to,
                   "https://HOST[:PORT], http://HOST[:PORT][/PATH], tcp://ADDRESS:PORT or HOST:PORT")
      ->required();
  command->add_option("--resources", options->resources, "Files or directories with Istio objects")->required();
  command->add_option("--agent", options->agent_settings,
                      "The agent's settings: its gateways; else those that the resources lead to");
  command->add_option("--gateway", options->gateway_settings,
                      "The gateway's settings: its labels; else those that the resources' Gateway selects");
  command->add_option("--unrouted", options->unrouted, "In place of egress.unrouted")
      ->check(CLI::IsMember({"gateway", "direct", "deny"}));
  command->add_option("-o,--output", options->output, "text or json")->check(CLI::IsMember({"text", "json"}));
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace sluice::cli
