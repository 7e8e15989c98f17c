#include "ingress/exchange.h"

#include <fmt/format.h>

#include "ingress/client_connection.h"
#include "ingress/desk.h"

// Answers of this side.
namespace sluice::ingress {
namespace {

// The stable names of why a request met no rule.
std::string_view reason_of(IngressRoute::Kind kind) {
  switch (kind) {
    case IngressRoute::Kind::bad_path:
      return "bad_path";
    case IngressRoute::Kind::no_server:
      return "no_server";
    case IngressRoute::Kind::no_virtual_service:
      return "no_virtual_service";
    case IngressRoute::Kind::no_route:
      return "no_route";
    case IngressRoute::Kind::misdirected:
      return "misdirected";
    default:
      return "";
  }
}

unsigned status_of(IngressRoute::Kind kind) {
  if (kind == IngressRoute::Kind::bad_path) return 400;
  return kind == IngressRoute::Kind::misdirected ? 421 : 404;
}

// What gRPC makes of an HTTP status (its document "HTTP to gRPC Status Code Mapping").
unsigned grpc_status_of(unsigned status) {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}

}  // namespace

void Exchange::answer_here() {
  switch (route_.kind) {
    case IngressRoute::Kind::https_redirect:
    case IngressRoute::Kind::redirect: {
      const bool to_https = route_.kind == IngressRoute::Kind::https_redirect;
      const auto port = connection_->listener()->port;
      const auto location = to_https ? https_location(facts()) : route_.actions->location(facts(), route_.match, port);
      outgoing_fields_ = {{"location", arena_.keep(location)}};
      return respond_with(to_https ? 301 : route_.rule->redirect->code, "", "");
    }
    case IngressRoute::Kind::direct_response: {
      const auto& direct = *route_.rule->direct_response;
      return respond_with(direct.status, direct.body.empty() ? "" : "text/plain", direct.body);
    }
    default:
      return respond(status_of(route_.kind), reason_of(route_.kind), route_.reason());
  }
}

bool Exchange::answer_preflight() {
  if (!route_.rule->cors) return false;
  cors_ = route_.actions->answer_cors(facts());
  if (cors_.kind != CorsAnswer::Kind::preflight) return false;
  for (const auto& [name, value] : cors_.fields) outgoing_fields_.push_back({name, value});
  respond_with(200, "", "");
  return true;
}

void Exchange::abort_by_fault(const HttpFault::Abort& abort) {
  reason_ = "fault";
  detail_ = "fault.abort of the rule";
  if (abort.http_status != 0) return respond_with(abort.http_status, "text/plain", "fault.abort of the rule\n");
  outgoing_fields_ = {{"content-type", "application/grpc"},
                      {"grpc-status", arena_.keep(fmt::to_string(abort.grpc_status))}};
  respond_with(200, "", "");
}

// An answer of this side that says why there is no other.
void Exchange::respond(unsigned status, std::string_view reason, std::string_view detail) {
  reason_ = reason;
  detail_ = detail;
  drop_server();
  if (status_ != 0) {
    client_->abort();
    return finish(reason);
  }
  outgoing_fields_ = {{"x-sluice-reason", arena_.keep(reason)}};
  const auto* type = find_field(request_.fields, "content-type");
  if (type != nullptr && type->value.starts_with("application/grpc")) return refuse_grpc(status, detail);
  respond_with(status, "text/plain", fmt::format("{}: {}\n", reason, detail));
}

// Clients of gRPC look at trailers only.
void Exchange::refuse_grpc(unsigned status, std::string_view message) {
  outgoing_fields_.push_back({"content-type", "application/grpc"});
  outgoing_fields_.push_back({"grpc-status", arena_.keep(fmt::to_string(grpc_status_of(status)))});
  outgoing_fields_.push_back({"grpc-message", arena_.keep(message)});
  respond_with(200, "", "");
}

// Besides outgoing_fields_.
void Exchange::respond_with(unsigned status, std::string_view content_type, std::string_view content) {
  status_ = status;
  if (!content_type.empty()) outgoing_fields_.push_back({"content-type", content_type});
  const auto length = arena_.keep(fmt::to_string(content.size()));
  const bool ends = content.empty() || request_.is_head();
  client_->send_head({status, &outgoing_fields_, status == 204 || status == 304 ? "" : length, {}, ends});
  if (!ends) {
    sent_bytes_ += content.size();
    client_->send_content({reinterpret_cast<const std::uint8_t*>(content.data()), content.size()});
    client_->send_end({});
  }
  finish("finished");
}

}  // namespace sluice::ingress
