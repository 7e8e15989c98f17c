#include "sources/api_fetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kube/discovery.h"

namespace sluice::sources {
namespace {

using net::Task;

constexpr std::size_t max_discovery_bytes = 4UL * 1024 * 1024;
constexpr unsigned not_found = 404;

}  // namespace

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

Task<Result<Done>> keep_connected(ApiServer& server, std::unique_ptr<ApiConnection>& connection) {
  if (connection && connection->reusable()) co_return Done{};
  connection.reset();
  auto made = co_await server.connect();
  if (!made) co_return made.error();
  connection = *std::move(made);
  co_return Done{};
}

Task<Result<Answer>> ask(ApiServer& server, std::unique_ptr<ApiConnection>& connection, ApiQuestion question,
                         std::size_t limit) {
  const auto connected = co_await keep_connected(server, connection);
  if (!connected) co_return connected.error();
  auto request = server.request(question.target);
  if (!request) co_return request.error();
  request->method = std::move(question.method);
  request->content_type = std::move(question.content_type);
  request->body = std::move(question.body);
  auto status = co_await connection->ask(*std::move(request), answer_timeout);
  if (!status) {
    connection.reset();
    co_return status.error();
  }
  auto body = co_await read_whole(*connection, *status == status_ok ? limit : max_refusal_bytes);
  if (!body) {
    connection.reset();
    co_return body.error();
  }
  if (!body->has_value()) connection.reset();
  co_return Answer{*status, *std::move(body)};
}

Task<Result<Answer>> fetch(ApiServer& server, std::unique_ptr<ApiConnection>& connection, std::string target,
                           std::size_t limit) {
  ApiQuestion question{"GET", std::move(target), {}, {}};
  auto answer = co_await ask(server, connection, std::move(question), limit);
  co_return answer;
}

Task<Result<std::map<std::string, std::string>>> find_paths(ApiServer& server, std::string_view group,
                                                            std::span<const std::string_view> readable) {
  std::map<std::string, std::string> paths;
  std::unique_ptr<ApiConnection> connection;
  const auto base = fmt::format("/apis/{}", group);
  auto answer = co_await fetch(server, connection, base, max_discovery_bytes);
  if (!answer) co_return answer.error();
  if (answer->status == not_found) co_return paths;
  if (answer->status != status_ok || !answer->body) co_return Error(fmt::format("{}: status {}", base, answer->status));
  const auto versions = kube::parse_group(*answer->body);
  if (!versions) co_return versions.error();
  for (const auto& version : *versions) {
    if (std::find(readable.begin(), readable.end(), version) == readable.end()) continue;
    const auto path = fmt::format("{}/{}", base, version);
    auto listed = co_await fetch(server, connection, path, max_discovery_bytes);
    if (!listed) co_return listed.error();
    if (listed->status == not_found) continue;
    if (listed->status != status_ok || !listed->body) {
      co_return Error(fmt::format("{}: status {}", path, listed->status));
    }
    const auto resources = kube::parse_resources(*listed->body);
    if (!resources) co_return resources.error();
    for (const auto& [kind, resource] : *resources) paths.emplace(kind, fmt::format("{}/{}", path, resource));
  }
  co_return paths;
}

}  // namespace sluice::sources
