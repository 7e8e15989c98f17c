#include "ingress/exchange.h"

#include <utility>

#include "base/clock.h"
#include "ingress/client_connection.h"
#include "ingress/desk.h"

// What is said of a request when it is over.
namespace sluice::ingress {
namespace {

// The reason of a record, of those that all roles have.
Reason to_record(std::string_view reason) {
  constexpr std::pair<std::string_view, Reason> reasons[] = {{"no_server", Reason::host_not_registered},
                                                             {"misdirected", Reason::host_mismatch},
                                                             {"bad_path", Reason::http_malformed},
                                                             {"upstream_reset", Reason::upstream_refused},
                                                             {"no_endpoint", Reason::upstream_refused}};
  for (const auto& [name, same] : reasons) {
    if (name == reason) return same;
  }
  if (reason.empty() || reason == "fault") return Reason::registered;
  return parse_reason(reason).value_or(Reason::no_gateway_route);
}

}  // namespace

void Exchange::record(std::string_view how) {
  const auto seconds = static_cast<double>(monotonic_ns() - started_ns_) / 1e9;
  desk_.note_request(plan_.get(), route_, status_, seconds);
  if (!desk_.log().wants(status_)) return;
  observe::Record record;
  connection_->describe(record);
  record.event = observe::Event::request;
  record.reason = to_record(reason_);
  record.verdict = allows(*record.reason) ? observe::Decision::allow : observe::Decision::deny;
  record.http = observe::HttpFacts{std::string(request_.method), request_.host.host, std::string(path_), status_};
  record.detail = reason_.empty() ? detail_ : reason_ + ": " + detail_;
  record.rule = route_.name;
  if (destination_ != nullptr) record.route = destination_->host;
  record.upstream = upstream_;
  record.bytes_sent = received_bytes_;
  record.bytes_received = sent_bytes_;
  record.duration_ms = seconds * 1e3;
  record.close_reason = how == "finished" ? "" : how;
  desk_.log().add(std::move(record));
  // The last ones are not to wait for a loop that turns no more.
  if (desk_.is_draining()) desk_.log().flush();
}

}  // namespace sluice::ingress
