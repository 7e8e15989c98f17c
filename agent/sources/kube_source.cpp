#include "sources/kube_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <deque>
#include <exception>
#include <map>
#include <string>
#include <utility>

#include "base/clock.h"
#include "kube/back_off.h"
#include "sources/api_fetch.h"
#include "sources/api_server.h"
#include "sources/kube_watch.h"

namespace sluice::sources {
namespace {

namespace asio = boost::asio;
using net::Task;
using resources::Severity;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::string_view group = "networking.istio.io";
constexpr std::array kinds = {"ServiceEntry", "Gateway", "VirtualService", "DestinationRule", "Sidecar"};
// Of these versions objects can be read.
constexpr std::array<std::string_view, 3> readable_versions = {"v1", "v1beta1", "v1alpha3"};
// What stands for the file of every object.
const std::string origin = "kubernetes";  // NOLINT(cert-err58-cpp): a short string allocates nothing

// A server that begins serves kinds one after the other: one that is missing is missed only after some time.
constexpr std::uint64_t settle_ns = 5'000'000'000;
// And the objects of one that is served no more are gone with it only after this.
constexpr std::uint64_t forget_ns = 60'000'000'000;
constexpr std::chrono::seconds look_soon{1};
constexpr std::chrono::seconds look_for_missing{15};
constexpr std::chrono::seconds look_again{300};

struct Kind {
  std::string name;
  std::shared_ptr<KubeWatch> watch;
  std::uint64_t missing_since_ns = 0;  // 0: it is served
  std::uint64_t missing_until_ns = 0;  // the last time that the server said so

  bool is_settled() const {
    return watch->is_followed() ? watch->is_complete() : missing_until_ns - missing_since_ns >= settle_ns;
  }
  // "networking.istio.io/v1"
  std::string version() const {
    constexpr std::size_t begin = std::string_view("/apis/").size();
    return watch->path().substr(begin, watch->path().rfind('/') - begin);
  }
};

// managedFields is gone already; what kubectl keeps for itself is as large as the object.
void trim_object(boost::json::object& content) {
  if (auto* metadata = content["metadata"].if_object()) metadata->erase("annotations");
}

}  // namespace

struct KubeSource::State {
  State(asio::io_context& io, std::shared_ptr<ApiServer> api, std::function<void()> on_change)
      : server(std::move(api)), changed(std::move(on_change)), discovery_timer(io) {
    for (const auto* name : kinds) {
      auto& kind = all.emplace_back(Kind{name, nullptr});
      kind.watch =
          std::make_shared<KubeWatch>(io, server, kube::WatchLimits{}, trim_object,
                                      KubeWatch::Sink{[this, &kind](kube::Change& change) { apply(kind, change); },
                                                      [this](bool news) { take_delivery(news); }});
    }
  }

  static Task<void> discover(std::shared_ptr<State> self);
  // True when other kinds are missing than before.
  bool place(const std::map<std::string, std::string>& paths);
  static void miss(Kind& kind, std::uint64_t now_ns);
  void apply(const Kind& kind, kube::Change& change);
  void take_delivery(bool news);
  std::chrono::seconds time_to_look() const;
  // True when everything is there from now on.
  bool settle();

  const std::shared_ptr<ApiServer> server;
  std::function<void()> changed;
  asio::steady_timer discovery_timer;
  std::deque<Kind> all;
  resources::Registry registry;
  Since discovery;
  bool discovered = false;
  bool complete = false;
  bool registry_changed = true;
  bool ended = false;
};

Task<void> KubeSource::State::discover(std::shared_ptr<State> self) {
  kube::BackOff back_off;
  while (!self->ended) {
    std::string why;
    bool missing = false;
    std::chrono::milliseconds wait{0};
    try {
      const auto paths = co_await find_paths(*self->server, group, readable_versions);
      if (self->ended) co_return;
      if (paths)
        missing = self->place(*paths);
      else
        why = paths.error().message();
    } catch (const std::exception& error) {
      why = error.what();
    }
    if (why.empty()) {
      back_off.reset();
      wait = self->time_to_look();
      wait += wait * (random_number() % 100) / 500;
    } else {
      wait = back_off.next(random_number());
    }
    const bool news = self->discovery.update(std::move(why));
    const bool completed = self->settle();
    if (news || missing || completed) self->changed();
    self->discovery_timer.expires_after(wait);
    co_await self->discovery_timer.async_wait(as_result);
  }
}

std::chrono::seconds KubeSource::State::time_to_look() const {
  if (!complete) return look_soon;
  const bool missing = std::any_of(all.begin(), all.end(), [&](const Kind& kind) {
    return kind.missing_since_ns != 0 || !kind.watch->trouble().why.empty();
  });
  return missing ? look_for_missing : look_again;
}

// Takes in what discovery said.
bool KubeSource::State::place(const std::map<std::string, std::string>& paths) {
  discovered = true;
  bool news = false;
  const auto now_ns = monotonic_ns();
  for (auto& kind : all) {
    const auto found = paths.find(kind.name);
    news = news || (found == paths.end()) != (kind.missing_since_ns != 0);
    if (found == paths.end()) {
      miss(kind, now_ns);
      continue;
    }
    kind.missing_since_ns = kind.missing_until_ns = 0;
    kind.watch->follow(found->second);
  }
  return news;
}

// The kind is not served, this time.
void KubeSource::State::miss(Kind& kind, std::uint64_t now_ns) {
  if (kind.missing_since_ns == 0) kind.missing_since_ns = now_ns;
  kind.missing_until_ns = now_ns;
  if (kind.watch->is_followed() && now_ns - kind.missing_since_ns >= forget_ns) kind.watch->forget();
}

void KubeSource::State::apply(const Kind& kind, kube::Change& change) {
  registry_changed = true;
  const resources::ObjectKey key{kind.name, change.object.id.namespace_name, change.object.id.name};
  if (change.removed) return registry.remove_object(origin, key);
  // Items of a list need not say what they are.
  change.object.content["apiVersion"] = kind.version();
  change.object.content["kind"] = kind.name;
  const auto tree = kube::to_tree(change.object.content);
  registry.update_object(origin, key, resources::read_document(tree, origin));
}

void KubeSource::State::take_delivery(bool news) {
  const bool completed = settle();
  if (news || completed) changed();
}

bool KubeSource::State::settle() {
  if (complete || !discovered) return false;
  complete = std::all_of(all.begin(), all.end(), [](const Kind& kind) { return kind.is_settled(); });
  return complete;
}

Result<std::unique_ptr<KubeSource>> KubeSource::start(asio::io_context& context, const settings::Kubernetes& settings,
                                                      std::function<void()> changed) {
  auto server = ApiServer::open(settings);
  if (!server) return server.error();
  auto state = std::make_shared<State>(context, *std::move(server), std::move(changed));
  asio::co_spawn(context, State::discover(state), asio::detached);
  return std::unique_ptr<KubeSource>(new KubeSource(std::move(state)));
}

KubeSource::KubeSource(std::shared_ptr<State> state) : state_(std::move(state)) {}

KubeSource::~KubeSource() {
  state_->ended = true;
  state_->changed = [] {};
  state_->discovery_timer.cancel();
  for (auto& kind : state_->all) kind.watch->end();
}

bool KubeSource::is_complete() const {
  return state_->complete;
}

bool KubeSource::take_changed() {
  return std::exchange(state_->registry_changed, false);
}

const resources::Registry& KubeSource::registry() const {
  return state_->registry;
}

std::vector<resources::Problem> KubeSource::problems() const {
  auto problems = state_->registry.problems();
  const auto note = [&](Severity severity, std::string code, std::string message) {
    problems.push_back({severity, std::move(code), origin, 0, "", "", std::move(message)});
  };
  const auto& discovery = state_->discovery;
  if (!discovery.why.empty()) {
    note(Severity::error, "SLU0026",
         fmt::format("the API server does not say what it serves since {}: {}", discovery.time, discovery.why));
  }
  for (const auto& kind : state_->all) {
    if (kind.missing_since_ns != 0) {
      note(Severity::warning, "SLU0027", fmt::format("{} is not served by the API server: there are none", kind.name));
    } else if (!kind.watch->trouble().why.empty()) {
      note(Severity::error, "SLU0026",
           fmt::format(
               "{} cannot be read since {}: {}; {}", kind.name, kind.watch->trouble().time, kind.watch->trouble().why,
               kind.watch->is_complete() ? "what was read before stays in force" : "nothing of it is known yet"));
    }
  }
  return problems;
}

}  // namespace sluice::sources
