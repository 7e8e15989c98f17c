// Single questions to the API server, and what it serves.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sources/api_connection.h"
#include "sources/api_server.h"

namespace sluice::sources {

inline constexpr net::Milliseconds answer_timeout{30'000};  // to the head of an answer, and from piece to piece of it
inline constexpr std::size_t max_refusal_bytes = 64UL * 1024;
inline constexpr unsigned status_ok = 200;

struct Answer {
  unsigned status = 0;
  std::optional<std::string> body;  // none: larger than the limit
};

// The whole body of an answer; nullopt: it is larger than `limit`.
net::Task<Result<std::optional<std::string>>> read_whole(ApiConnection& connection, std::size_t limit);

// `connection` becomes one that can be used, made anew when it is not.
net::Task<Result<Done>> keep_connected(ApiServer& server, std::unique_ptr<ApiConnection>& connection);

struct ApiQuestion {
  std::string method;
  std::string target;
  std::string content_type{};  // of the body; empty: there is none
  std::string body{};
};

// Gets the whole answer to one request, by the connection that there is or a new one, which is left there.
net::Task<Result<Answer>> ask(ApiServer& server, std::unique_ptr<ApiConnection>& connection, ApiQuestion question,
                              std::size_t limit);
// The same with GET.
net::Task<Result<Answer>> fetch(ApiServer& server, std::unique_ptr<ApiConnection>& connection, std::string target,
                                std::size_t limit);

// The path of each kind of `group` ("/apis/networking.istio.io/v1/serviceentries" by "ServiceEntry"), in the most
// stable of the `readable` versions. A group that is not served has none.
net::Task<Result<std::map<std::string, std::string>>> find_paths(ApiServer& server, std::string_view group,
                                                                 std::span<const std::string_view> readable);

}  // namespace sluice::sources
