#include "relay/refusal.h"

#include "wire/client_hello.h"

namespace sluice::relay {
namespace {

constexpr net::Milliseconds linger{1000};

std::string_view status_line(Reason reason) {
  switch (reason) {
    case Reason::http_malformed:
    case Reason::host_missing:
      return "400 Bad Request";
    case Reason::hello_timeout:
      return "408 Request Timeout";
    case Reason::dns_failure:
    case Reason::upstream_refused:
      return "502 Bad Gateway";
    case Reason::upstream_timeout:
      return "504 Gateway Timeout";
    case Reason::gateway_unreachable:
    case Reason::overloaded:
    case Reason::draining:
    case Reason::policy_not_ready:
    case Reason::audit_unavailable:
      return "503 Service Unavailable";
    default:
      return "403 Forbidden";
  }
}

wire::Alert alert_for(Reason reason) {
  switch (reason) {
    case Reason::host_not_registered:
    case Reason::not_exported:
    case Reason::sni_missing:
      return wire::Alert::unrecognized_name;
    case Reason::hello_malformed:
    case Reason::hello_too_large:
      return wire::Alert::decode_error;
    case Reason::gateway_unreachable:
    case Reason::upstream_refused:
    case Reason::upstream_timeout:
    case Reason::dns_failure:
    case Reason::overloaded:
    case Reason::draining:
    case Reason::policy_not_ready:
    case Reason::audit_unavailable:
      return wire::Alert::internal_error;
    default:
      return wire::Alert::access_denied;
  }
}

}  // namespace

std::string http_refusal(Reason reason, std::string_view host, std::string_view detail) {
  std::string body = "sluice: ";
  body.append(host.empty() ? "this call" : host).append(" denied: ").append(to_string(reason));
  if (!detail.empty()) body.append(" (").append(detail).append(")");
  body += "\n";
  std::string answer = "HTTP/1.1 ";
  answer.append(status_line(reason)).append("\r\nContent-Type: text/plain\r\nContent-Length: ");
  answer.append(std::to_string(body.size())).append("\r\nx-sluice-reason: ").append(to_string(reason));
  return answer.append("\r\nConnection: close\r\n\r\n").append(body);
}

std::vector<std::uint8_t> refusal_answer(Sniffed sniffed, Reason reason, std::string_view host,
                                         std::string_view detail) {
  if (sniffed == Sniffed::tls) return wire::alert_record(alert_for(reason));
  if (sniffed != Sniffed::http) return {};
  const auto answer = http_refusal(reason, host, detail);
  return {answer.begin(), answer.end()};
}

net::Task<void> refuse(net::Stream& client, Sniffed sniffed, Reason reason, std::string_view host,
                       std::string_view detail) {
  // Every path ends in a close, and no answer is worth waiting long for a client that does not read.
  const net::Deadline deadline(client.socket(), linger);
  const auto answer = refusal_answer(sniffed, reason, host, detail);
  if (answer.empty()) {
    client.reset();
    co_return;
  }
  co_await client.write_all(answer);
  co_await net::close_gently(client, linger);
}

}  // namespace sluice::relay
