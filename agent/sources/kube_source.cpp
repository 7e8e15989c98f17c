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
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "kube/discovery.h"
#include "kube/line_reader.h"
#include "kube/watch.h"
#include "sources/api_server.h"
#include "tls/random.h"

namespace sluice::sources {
namespace {

namespace asio = boost::asio;
using kube::Watch;
using net::Milliseconds;
using net::Task;
using resources::Severity;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::string_view group = "networking.istio.io";
constexpr std::array kinds = {"ServiceEntry", "Gateway", "VirtualService", "DestinationRule", "Sidecar"};
// Of these versions objects can be read.
constexpr std::array<std::string_view, 3> readable_versions = {"v1", "v1beta1", "v1alpha3"};
// What stands for the file of every object.
const std::string origin = "kubernetes";  // NOLINT(cert-err58-cpp): a short string allocates nothing

constexpr Milliseconds answer_timeout{30'000};  // to the head of an answer, and from one piece of it to the next
constexpr std::size_t max_list_bytes = 32UL * 1024 * 1024;
constexpr std::size_t max_line_bytes = 8UL * 1024 * 1024;  // etcd takes objects of 1.5 MiB
constexpr std::size_t max_discovery_bytes = 4UL * 1024 * 1024;
constexpr std::size_t max_refusal_bytes = 64UL * 1024;
constexpr unsigned ok = 200;
constexpr unsigned not_found = 404;

// A server that begins serves kinds one after the other: one that is missing is missed only after some time.
constexpr std::uint64_t settle_ns = 5'000'000'000;
// And the objects of one that is served no more are gone with it only after this.
constexpr std::uint64_t forget_ns = 60'000'000'000;
constexpr std::chrono::seconds look_soon{1};
constexpr std::chrono::seconds look_for_missing{15};
constexpr std::chrono::seconds look_again{300};

std::uint32_t random_number() {
  std::array<std::uint8_t, 4> bytes{};
  tls::fill_random(bytes);
  return std::uint32_t{bytes[0]} | std::uint32_t{bytes[1]} << 8 | std::uint32_t{bytes[2]} << 16 |
         std::uint32_t{bytes[3]} << 24;
}

// One that began just now.
std::string time_text() {
  std::string text;
  append_time(text, wall_ns());
  return text.substr(0, text.find('.')) + "Z";
}

// A trouble with the time when it began.
struct Since {
  std::string time;
  std::string why;  // empty: none

  // True when it is another one than before.
  bool update(std::string now) {
    if (now == why) return false;
    if (why.empty()) time = time_text();
    why = std::move(now);
    return true;
  }
};

struct Kind {
  Kind(asio::io_context& context, std::string kind_name)
      : name(std::move(kind_name)), watch({}, random_number), timer(context) {}

  std::string name;
  Watch watch;
  asio::steady_timer timer;            // of a pause; cancelled when there is something else to do
  std::string path;                    // "/apis/networking.istio.io/v1/serviceentries"; empty: not served
  std::string version;                 // "networking.istio.io/v1"
  bool running = false;                // its coroutine is
  bool moved = false;                  // `path` is another one than that of the last list
  std::uint64_t missing_since_ns = 0;  // 0: it is served
  std::uint64_t missing_until_ns = 0;  // the last time that the server said so
  std::deque<kube::Change> pending;    // of the watch, not yet in the registry
  Since trouble;

  bool is_settled() const {
    return path.empty() ? missing_until_ns - missing_since_ns >= settle_ns : watch.is_complete();
  }
};

// The whole body of an answer; nullopt: it is larger than `limit`.
Task<Result<std::optional<std::string>>> read_whole(ApiConnection& connection, std::size_t limit) {
  std::string body;
  for (;;) {
    const auto piece = co_await connection.read_body(answer_timeout);
    if (!piece) co_return piece.error();
    if (piece->empty()) co_return std::optional(std::move(body));
    if (body.size() + piece->size() > limit) co_return std::optional<std::string>();
    body += *piece;
  }
}

struct Answer {
  unsigned status = 0;
  std::optional<std::string> body;  // none: larger than the limit
};

}  // namespace

struct KubeSource::State {
  State(asio::io_context& io, std::unique_ptr<ApiServer> api, std::function<void()> on_change)
      : context(io), server(std::move(api)), changed(std::move(on_change)), discovery_timer(io) {
    for (const auto* name : kinds) all.emplace_back(io, name);
  }

  static Task<void> discover(std::shared_ptr<State> self);
  static Task<void> follow(std::shared_ptr<State> self, Kind& kind);

  Task<Result<Answer>> fetch(std::unique_ptr<ApiConnection>& connection, std::string target, std::size_t limit);
  Task<Result<std::map<std::string, std::string>>> find_paths();
  // True when other kinds are missing than before.
  bool place(const std::map<std::string, std::string>& paths, const std::shared_ptr<State>& self);
  void miss(Kind& kind, std::uint64_t now_ns);
  Task<void> step(Kind& kind, std::unique_ptr<ApiConnection>& connection, Watch::Step step);
  Task<void> list(Kind& kind, std::unique_ptr<ApiConnection>& connection, std::string query);
  Task<void> stream(Kind& kind, std::unique_ptr<ApiConnection>& connection, Watch::Follow follow);
  Task<void> read_lines(Kind& kind, std::unique_ptr<ApiConnection>& connection, Milliseconds silence);
  void deliver(Kind& kind);
  void apply(const Kind& kind, kube::Change& change);
  std::chrono::seconds time_to_look() const;
  // True when everything is there from now on.
  bool settle();

  asio::io_context& context;
  const std::unique_ptr<ApiServer> server;
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

// Gets the whole answer to one request, by the connection that there is or a new one.
Task<Result<Answer>> KubeSource::State::fetch(std::unique_ptr<ApiConnection>& connection, std::string target,
                                              std::size_t limit) {
  if (!connection || !connection->reusable()) {
    connection.reset();
    auto made = co_await server->connect();
    if (!made) co_return made.error();
    connection = *std::move(made);
  }
  auto request = server->request(target);
  if (!request) co_return request.error();
  auto status = co_await connection->get(*std::move(request), answer_timeout);
  if (!status) {
    connection.reset();
    co_return status.error();
  }
  auto body = co_await read_whole(*connection, *status == ok ? limit : max_refusal_bytes);
  if (!body) {
    connection.reset();
    co_return body.error();
  }
  if (!body->has_value()) connection.reset();
  co_return Answer{*status, *std::move(body)};
}

// The path of each kind by its name, in the most stable version that can be read.
Task<Result<std::map<std::string, std::string>>> KubeSource::State::find_paths() {
  std::map<std::string, std::string> paths;
  std::unique_ptr<ApiConnection> connection;
  const auto base = fmt::format("/apis/{}", group);
  auto answer = co_await fetch(connection, base, max_discovery_bytes);
  if (!answer) co_return answer.error();
  if (answer->status == not_found) co_return paths;
  if (answer->status != ok || !answer->body) co_return Error(fmt::format("{}: status {}", base, answer->status));
  const auto versions = kube::parse_group(*answer->body);
  if (!versions) co_return versions.error();
  for (const auto& version : *versions) {
    if (std::find(readable_versions.begin(), readable_versions.end(), version) == readable_versions.end()) continue;
    const auto path = fmt::format("{}/{}", base, version);
    auto listed = co_await fetch(connection, path, max_discovery_bytes);
    if (!listed) co_return listed.error();
    if (listed->status == not_found) continue;
    if (listed->status != ok || !listed->body) co_return Error(fmt::format("{}: status {}", path, listed->status));
    const auto resources = kube::parse_resources(*listed->body);
    if (!resources) co_return resources.error();
    for (const auto& [kind, resource] : *resources) paths.emplace(kind, fmt::format("{}/{}", path, resource));
  }
  co_return paths;
}

Task<void> KubeSource::State::discover(std::shared_ptr<State> self) {
  kube::BackOff back_off;
  while (!self->ended) {
    std::string why;
    bool missing = false;
    std::chrono::milliseconds wait{0};
    try {
      const auto paths = co_await self->find_paths();
      if (self->ended) co_return;
      if (paths)
        missing = self->place(*paths, self);
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
    return kind.missing_since_ns != 0 || kind.watch.trouble().since_ns != 0;
  });
  return missing ? look_for_missing : look_again;
}

// Takes in what discovery said.
bool KubeSource::State::place(const std::map<std::string, std::string>& paths, const std::shared_ptr<State>& self) {
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
    if (kind.path != found->second) {
      kind.moved = !kind.path.empty();
      kind.path = found->second;
      const auto end = kind.path.rfind('/');
      kind.version = kind.path.substr(std::string_view("/apis/").size(), end - std::string_view("/apis/").size());
    }
    if (std::exchange(kind.running, true)) continue;
    asio::co_spawn(context, follow(self, kind), asio::detached);
  }
  return news;
}

// The kind is not served, this time.
void KubeSource::State::miss(Kind& kind, std::uint64_t now_ns) {
  if (kind.missing_since_ns == 0) kind.missing_since_ns = now_ns;
  kind.missing_until_ns = now_ns;
  if (kind.path.empty() || now_ns - kind.missing_since_ns < forget_ns) return;
  // Its coroutine ends, and takes the objects along.
  kind.path.clear();
  kind.timer.cancel();
}

Task<void> KubeSource::State::follow(std::shared_ptr<State> self, Kind& kind) {
  std::unique_ptr<ApiConnection> connection;
  while (!self->ended && !kind.path.empty()) {
    if (std::exchange(kind.moved, false)) kind.watch.restart();
    auto next = kind.watch.next(monotonic_ns());
    std::string thrown;
    try {
      co_await self->step(kind, connection, std::move(next));
      if (self->ended) co_return;
      self->deliver(kind);
    } catch (const std::exception& error) {
      thrown = error.what();
    }
    if (thrown.empty()) continue;
    connection.reset();
    kind.watch.restart();
    kind.watch.on_failure(std::move(thrown), monotonic_ns());
  }
  kind.running = false;
  if (self->ended) co_return;
  // An empty list of what is no more.
  kind.watch.restart();
  kind.watch.on_list(ok, R"({"metadata":{"resourceVersion":"0"},"items":[]})", monotonic_ns());
  self->deliver(kind);
  kind.watch = Watch({}, random_number);
  self->changed();
}

Task<void> KubeSource::State::step(Kind& kind, std::unique_ptr<ApiConnection>& connection, Watch::Step step) {
  if (const auto* pause = std::get_if<Watch::Pause>(&step)) {
    const auto now_ns = monotonic_ns();
    kind.timer.expires_after(std::chrono::nanoseconds(pause->until_ns - std::min(now_ns, pause->until_ns)));
    co_await kind.timer.async_wait(as_result);
  } else if (auto* page = std::get_if<Watch::List>(&step)) {
    co_await list(kind, connection, std::move(page->query));
  } else {
    co_await stream(kind, connection, std::move(*std::get_if<Watch::Follow>(&step)));
  }
}

Task<void> KubeSource::State::list(Kind& kind, std::unique_ptr<ApiConnection>& connection, std::string query) {
  auto answer = co_await fetch(connection, kind.path + "?" + query, max_list_bytes);
  const auto now_ns = monotonic_ns();
  if (!answer)
    kind.watch.on_failure(answer.error().message(), now_ns);
  else if (answer->body)
    kind.watch.on_list(answer->status, *answer->body, now_ns);
  else
    kind.watch.on_oversized_list(now_ns);
}

Task<void> KubeSource::State::stream(Kind& kind, std::unique_ptr<ApiConnection>& connection, Watch::Follow follow) {
  if (!connection || !connection->reusable()) {
    connection.reset();
    auto made = co_await server->connect();
    if (!made) {
      kind.watch.on_failure(made.error().message(), monotonic_ns());
      co_return;
    }
    connection = *std::move(made);
  }
  auto request = server->request(kind.path + "?" + follow.query);
  if (!request) {
    kind.watch.on_failure(request.error().message(), monotonic_ns());
    co_return;
  }
  auto status = co_await connection->get(*std::move(request), answer_timeout);
  if (!status) {
    connection.reset();
    kind.watch.on_failure(status.error().message(), monotonic_ns());
    co_return;
  }
  if (*status != ok) {
    auto body = co_await read_whole(*connection, max_refusal_bytes);
    const bool whole = body && body->has_value();
    kind.watch.on_follow(*status, whole ? **body : "", monotonic_ns());
    if (!whole) connection.reset();
    co_return;
  }
  kind.watch.on_follow(ok, "", monotonic_ns());
  deliver(kind);
  // The server ends the stream by itself; one that does not is dead.
  const Milliseconds silence = std::chrono::seconds(follow.timeout_s) + answer_timeout;
  co_await read_lines(kind, connection, silence);
}

Task<void> KubeSource::State::read_lines(Kind& kind, std::unique_ptr<ApiConnection>& connection, Milliseconds silence) {
  kube::LineReader lines(max_line_bytes);
  bool useful = true;
  while (useful && !kind.path.empty()) {
    const auto piece = co_await connection->read_body(silence);
    if (ended) co_return;
    if (!piece) {
      connection.reset();
      kind.watch.on_failure(piece.error().message(), monotonic_ns());
      co_return;
    }
    if (piece->empty()) {
      kind.watch.on_end(monotonic_ns());
      co_return;
    }
    if (!lines.feed(*piece)) {
      connection.reset();
      // Asked again from here on it would come again.
      kind.watch.restart();
      kind.watch.on_failure("watch: a line is longer than is read", monotonic_ns());
      co_return;
    }
    while (useful) {
      const auto line = lines.next();
      if (!line) break;
      useful = kind.watch.on_line(*line, monotonic_ns());
    }
    deliver(kind);
  }
  connection.reset();
}

// Hands on what the watch has learned.
void KubeSource::State::deliver(Kind& kind) {
  auto changes = kind.watch.take_changes();
  std::move(changes.begin(), changes.end(), std::back_inserter(kind.pending));
  const bool news = !kind.pending.empty();
  // Each stays until it is done, whatever is thrown: the watch tells of none twice.
  for (; !kind.pending.empty(); kind.pending.pop_front()) apply(kind, kind.pending.front());
  registry_changed = registry_changed || news;
  const bool trouble = kind.trouble.update(kind.watch.trouble().why);
  const bool completed = settle();
  if (news || trouble || completed) changed();
}

void KubeSource::State::apply(const Kind& kind, kube::Change& change) {
  const resources::ObjectKey key{kind.name, change.object.id.namespace_name, change.object.id.name};
  if (change.removed) return registry.remove_object(origin, key);
  // Items of a list need not say what they are.
  change.object.content["apiVersion"] = kind.version;
  change.object.content["kind"] = kind.name;
  const auto tree = kube::to_tree(change.object.content);
  registry.update_object(origin, key, resources::read_document(tree, origin));
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
  for (auto& kind : state_->all) kind.timer.cancel();
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
    } else if (!kind.trouble.why.empty()) {
      note(
          Severity::error, "SLU0026",
          fmt::format("{} cannot be read since {}: {}; {}", kind.name, kind.trouble.time, kind.trouble.why,
                      kind.watch.is_complete() ? "what was read before stays in force" : "nothing of it is known yet"));
    }
  }
  return problems;
}

}  // namespace sluice::sources
