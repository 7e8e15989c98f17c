#include "ingress/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "ingress/client_connection.h"
#include "ingress/desk.h"
#include "ingress/mirror.h"
#include "policy/http_path.h"
#include "tls/random.h"

namespace sluice::ingress {
namespace {

// Of a request's content, so much is kept to send it once more.
constexpr std::size_t resend_bytes = 64UL * 1024;
// Connections that a server closed while they were kept say nothing of the server: the request is sent once more.
constexpr unsigned max_stale_tries = 3;

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

std::uint32_t condition_of_grpc(std::string_view status) {
  if (status == "1") return HttpRetries::grpc_cancelled;
  if (status == "4") return HttpRetries::grpc_deadline_exceeded;
  if (status == "13") return HttpRetries::grpc_internal;
  if (status == "8") return HttpRetries::grpc_resource_exhausted;
  if (status == "14") return HttpRetries::grpc_unavailable;
  return 0;
}

std::uint32_t conditions_of(Failure::Kind kind) {
  constexpr std::uint32_t any = HttpRetries::server_error | HttpRetries::reset;
  switch (kind) {
    case Failure::Kind::connect:
    case Failure::Kind::timeout:
      return any | HttpRetries::connect_failure | HttpRetries::reset_before_request;
    case Failure::Kind::refused:
      return any | HttpRetries::refused_stream | HttpRetries::reset_before_request;
    case Failure::Kind::stale:
    case Failure::Kind::reset:
      return any;
  }
  return 0;
}

std::string_view reason_of(Failure::Kind kind) {
  switch (kind) {
    case Failure::Kind::timeout:
      return "upstream_timeout";
    case Failure::Kind::connect:
    case Failure::Kind::refused:
      return "upstream_refused";
    case Failure::Kind::stale:
    case Failure::Kind::reset:
      return "upstream_reset";
  }
  return "";
}

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

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

// RFC 9562 section 5.4, of random bits.
std::string_view make_request_id(Desk& desk, Arena& arena) {
  const auto high = (desk.pick() & 0xffffffffffff0fff) | 0x4000;
  const auto low = (desk.pick() & 0x3fffffffffffffff) | 0x8000000000000000;
  auto* id = arena.room(36);
  fmt::format_to_n(id, 36, "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, high >> 16 & 0xffff, high & 0xffff,
                   low >> 48, low & 0xffffffffffff);
  return {id, 36};
}

HeaderFields to_owned(const Fields& fields, Arena& arena) {
  HeaderFields owned;
  owned.reserve(fields.size());
  for (const auto& field : fields) owned.emplace_back(arena.lower(field.name), field.value);
  return owned;
}

// Rules may name anything: what frames a message, or is of one hop, is not theirs to say.
void to_views(const HeaderFields& owned, Fields& fields) {
  fields.clear();
  for (const auto& [name, value] : owned) {
    if (is_end_to_end(name)) fields.push_back({name, value});
  }
}

}  // namespace

void Exchange::Alarm::set(std::uint32_t delay_ms, Step step) {
  step_ = step;
  arm(exchange_.desk_.timeouts(), net::Milliseconds(delay_ms));
}

Exchange::Exchange(Desk& desk) : desk_(desk) {}

void Exchange::prepare(ClientConnection& connection) {
  arena_.clear();
  connection_ = &connection;
  client_ = nullptr;
  server_ = nullptr;
  request_.clear();
  started_ns_ = monotonic_ns();
  path_ = query_ = {};
  route_ = {};
  destination_ = nullptr;
  tried_.clear();
  outgoing_ = {};
  outgoing_fields_.clear();
  altered_.clear();
  cors_ = {};
  sent_content_.clear();
  if (sent_content_.capacity() > resend_bytes) sent_content_.shrink_to_fit();
  resendable_ = true;
  request_ended_ = false;
  request_trailers_.clear();
  tries_ = 0;
  is_retry_ = false;
  fault_abort_ = nullptr;
  status_ = 0;
  sent_bytes_ = received_bytes_ = 0;
  reason_.clear();
  detail_.clear();
  upstream_.clear();
}

void Exchange::begin(ClientStream& client) {
  client_ = &client;
  request_ended_ = request_.ends;
  plan_ = connection_->plan();
  if (!plan_) return respond(503, "policy_not_ready", "no policy was read yet");
  find_route();
  if (route_.kind != IngressRoute::Kind::forward) return answer_here();
  if (answer_preflight()) return;
  inject_fault();
}

void Exchange::refuse(ClientStream& client, unsigned status, std::string_view reason, std::string_view detail) {
  client_ = &client;
  respond(status, reason, detail);
}

void Exchange::on_client_error(unsigned status, std::string_view reason, std::string_view detail) {
  respond(status, reason, detail);
}

// What rules look at.
HttpRequest Exchange::facts() const {
  return {request_.method, request_.authority, path_, query_, request_.lines, request_.scheme()};
}

void Exchange::find_route() {
  const auto question = std::min(request_.target.find('?'), request_.target.size());
  query_ = request_.target.substr(std::min(question + 1, request_.target.size()));
  const auto path = canonical_path(request_.target.substr(0, question), scratch_);
  if (!path) {
    route_.kind = IngressRoute::Kind::bad_path;
    return;
  }
  path_ = *path;
  const auto* listener = connection_->listener();
  if (listener == nullptr) {
    route_.kind = IngressRoute::Kind::no_server;
  } else if (connection_->is_outdated()) {
    route_.kind = IngressRoute::Kind::misdirected;
  } else {
    route_ = plan_->routes->route(*listener, connection_->server(), request_.host.host, facts());
  }
}

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

void Exchange::inject_fault() {
  if (!route_.rule->fault) return forward();
  const auto fault = choose_fault(*route_.rule->fault, desk_.pick(), desk_.pick());
  fault_abort_ = fault.abort;
  if (fault.delay_ms > 0) return step_.set(fault.delay_ms, &Exchange::forward);
  forward();
}

void Exchange::forward() {
  if (fault_abort_ != nullptr) return abort_by_fault(*fault_abort_);
  const auto& rule = *route_.rule;
  destination_ = choose_destination(rule.destinations, desk_.pick());
  if (destination_ == nullptr) return respond(503, "no_destination", "every destination has weight 0");
  cluster_ = desk_.find_cluster(*plan_, *destination_, connection_->listener()->port);
  if (cluster_ == nullptr) {
    return respond(503, "no_destination", fmt::format("no service {} with that port or subset", destination_->host));
  }
  resendable_ = retries().attempts > 0 || request_.is_idempotent();
  if (!prepare_outgoing(*destination_)) return respond(400, "bad_path", "rewritten, the path has several readings");
  if (const auto limit = rule.timeout_ms.value_or(0); limit > 0) overall_.set(limit, &Exchange::on_timeout);
  begin_mirrors();
  if (cluster_->is_ready(*this)) try_place();
}

void Exchange::begin_mirrors() {
  for (const auto& mirror : route_.rule->mirrors) {
    if (!is_chosen(mirror.share, desk_.pick())) continue;
    auto cluster = desk_.find_mirror(*plan_, mirror.destination, connection_->listener()->port, route_.name);
    if (cluster) mirrors_.push_back(&Mirror::begin(desk_, std::move(cluster), outgoing_));
  }
}

bool Exchange::prepare_outgoing(const Destination& destination) {
  const bool plain = route_.actions->is_plain();
  outgoing_.method = request_.method;
  outgoing_.scheme = request_.scheme();
  outgoing_.authority = request_.authority;
  outgoing_.content_length = request_.hop.content_length;
  outgoing_.upgrade = request_.hop.upgrade;
  outgoing_.trailers = request_.hop.trailers;
  outgoing_.ends = request_.ends;
  if (route_.rule->rewrite) {
    const auto target = route_.actions->rewrite_target(facts(), route_.match);
    if (!target) return false;
    outgoing_.target = arena_.keep(*target);
  } else if (path_.data() == request_.target.data()) {
    outgoing_.target = request_.target;
  } else {
    outgoing_.target = arena_.keep(fmt::format(
        "{}{}", path_, request_.target.substr(std::min(request_.target.find('?'), request_.target.size()))));
  }
  if (!plain) outgoing_.authority = route_.actions->rewrite_authority(facts(), destination);

  std::string_view forwarded_for;
  std::string_view id;
  for (const auto& field : request_.fields) {
    // Who sends these claims what only this side knows.
    if (same_name(field.name, "x-forwarded-proto") || same_name(field.name, "x-forwarded-client-cert")) continue;
    if (same_name(field.name, "x-forwarded-for")) {
      forwarded_for =
          forwarded_for.empty() ? field.value : arena_.keep(fmt::format("{}, {}", forwarded_for, field.value));
    } else if (same_name(field.name, "x-request-id")) {
      id = field.value;
    } else {
      outgoing_fields_.push_back(field);
    }
  }
  const auto& peer = connection_->peer_text();
  outgoing_fields_.push_back({"x-forwarded-for", forwarded_for.empty()
                                                     ? std::string_view(peer)
                                                     : arena_.keep(fmt::format("{}, {}", forwarded_for, peer))});
  outgoing_fields_.push_back({"x-forwarded-proto", request_.scheme()});
  const bool sane = !id.empty() && id.size() <= 128 && is_printable(id);
  outgoing_fields_.push_back({"x-request-id", sane ? id : make_request_id(desk_, arena_)});
  if (!plain) {
    altered_ = to_owned(outgoing_fields_, arena_);
    route_.actions->alter_request(destination, altered_);
    to_views(altered_, outgoing_fields_);
  }
  outgoing_.fields = &outgoing_fields_;
  return true;
}

void Exchange::try_place() {
  place_ = cluster_->choose(tried_);
  if (!place_) return respond(503, "no_endpoint", cluster_->problem());
  tried_.push_back(place_.get());
  send_request();
}

void Exchange::send_request() {
  Cluster::NoStream why;
  server_ = cluster_->open(place_, *this, why);
  if (server_ == nullptr) return on_no_stream(std::move(why));
  ++tries_;
  upstream_ = place_->address_text;
  server_->send_request(outgoing_);
  if (!sent_content_.empty()) server_->send_content(sent_content_);
  if (!resendable_) sent_content_.clear();
  if (request_ended_ && !request_.ends) server_->send_end(request_trailers_);
  // A server that never answers would hold the client for ever, where no rule says for how long.
  const auto longest = static_cast<std::uint32_t>(desk_.settings().limits.idle_timeout.count());
  const auto limit = retries().per_try_timeout_ms;
  step_.set(limit > 0 ? limit : longest, &Exchange::on_try_timeout);
  if (request_ended_) return;
  // Who expects to be told to go on has waited for this.
  if (std::exchange(request_.expects_continue, false) && received_bytes_ == 0) client_->send_interim(100, {});
  client_->read_more();
}

void Exchange::on_no_stream(Cluster::NoStream why) {
  switch (why.kind) {
    case Cluster::NoStream::Kind::failed:
      ++tries_;
      return on_failure({Failure::Kind::connect, std::move(why.problem)});
    case Cluster::NoStream::Kind::limited:
      return respond(503, "overloaded", why.problem);
    case Cluster::NoStream::Kind::wait:
      tried_.pop_back();
      detail_ = std::move(why.problem);
      cluster_->wait_for_connection(*this);
      return step_.set(static_cast<std::uint32_t>(place_->limits.connect_timeout.count()), &Exchange::on_no_connection);
  }
}

void Exchange::on_no_connection() {
  respond(503, "overloaded", std::string(detail_));
}

bool Exchange::on_request_content(ByteSpan content) {
  received_bytes_ += content.size();
  for (auto* mirror : mirrors_) mirror->add(content);
  const bool fits = sent_content_.size() + content.size() <= resend_bytes;
  if (server_ == nullptr) {
    sent_content_.insert(sent_content_.end(), content.begin(), content.end());
    return false;
  }
  if (resendable_ && fits && status_ == 0) {
    sent_content_.insert(sent_content_.end(), content.begin(), content.end());
  } else {
    resendable_ = false;
    sent_content_.clear();
  }
  server_->send_content(content);
  return !server_->is_full();
}

void Exchange::on_request_end(const Fields& trailers) {
  request_ended_ = true;
  for (const auto& field : trailers) {
    request_trailers_.push_back({arena_.keep(field.name), arena_.keep(field.value)});
  }
  for (auto* mirror : mirrors_) mirror->end(request_trailers_);
  if (server_ != nullptr) server_->send_end(request_trailers_);
}

void Exchange::on_server_room() {
  if (client_ != nullptr && !request_ended_) client_->read_more();
}

void Exchange::on_client_room() {
  if (server_ != nullptr && status_ != 0) server_->read_more();
}

void Exchange::on_interim(unsigned status, const Fields& fields) {
  // 100 was said already, by this side.
  if (status != 100) client_->send_interim(status, fields);
}

void Exchange::on_answer(const Answer& answer) {
  step_.stop();
  cluster_->note(*place_, answer.status);
  if (may_retry(answer)) {
    drop_server();
    return retry();
  }
  status_ = answer.status;
  sent_content_.clear();
  resendable_ = false;
  if (answer.status == 101) request_ended_ = false;
  auto altered = answer;
  Fields views;
  HeaderFields owned;
  if (!route_.actions->is_plain() || !cors_.fields.empty()) {
    owned = to_owned(*answer.fields, arena_);
    route_.actions->alter_response(*destination_, owned);
    for (const auto& field : cors_.fields) {
      std::erase_if(owned, [&](const auto& other) { return other.first == field.first; });
    }
    owned.insert(owned.end(), cors_.fields.begin(), cors_.fields.end());
    to_views(owned, views);
    altered.fields = &views;
  }
  client_->send_head(altered);
  if (answer.ends) finish("finished");
}

bool Exchange::on_answer_content(ByteSpan content) {
  sent_bytes_ += content.size();
  client_->send_content(content);
  return !client_->is_full();
}

void Exchange::on_answer_end(const Fields& trailers) {
  client_->send_end(trailers);
  finish("finished");
}

void Exchange::on_failure(const Failure& failure) {
  step_.stop();
  const bool stale = failure.kind == Failure::Kind::stale;
  if (!stale) cluster_->note(*place_, 0);
  drop_server();
  if (status_ != 0) {
    detail_ = failure.detail;
    client_->abort();
    return finish("upstream_reset");
  }
  const bool once_more = stale && request_.is_idempotent() && tries_ <= max_stale_tries;
  if (resendable_ && once_more) {
    // The endpoint is as good as any.
    std::erase(tried_, place_.get());
    return try_place();
  }
  if (may_retry(conditions_of(failure.kind))) return retry();
  respond(503, reason_of(failure.kind), failure.detail);
}

const HttpRetries& Exchange::retries() const {
  static const HttpRetries by_default;
  return route_.rule->retries ? *route_.rule->retries : by_default;
}

bool Exchange::may_retry(std::uint32_t conditions) {
  if (status_ != 0 || !resendable_ || tries_ > retries().attempts || (retries().on & conditions) == 0) return false;
  is_retry_ = is_retry_ || cluster_->begin_retry();
  return is_retry_;
}

bool Exchange::may_retry(const Answer& answer) {
  std::uint32_t conditions = 0;
  if (answer.status >= 500) conditions |= HttpRetries::server_error;
  if (answer.status >= 502 && answer.status <= 504) conditions |= HttpRetries::gateway_error;
  if (answer.status == 409) conditions |= HttpRetries::retriable_4xx;
  if (const auto* grpc = find_field(*answer.fields, "grpc-status")) conditions |= condition_of_grpc(grpc->value);
  const auto& statuses = retries().on_statuses;
  if (std::find(statuses.begin(), statuses.end(), answer.status) != statuses.end()) conditions = retries().on;
  return conditions != 0 && may_retry(conditions);
}

void Exchange::retry() {
  const auto backoff = std::min(retries().backoff_ms << std::min(tries_ - 1, 6U), 10'000U);
  if (backoff == 0) return try_place();
  step_.set(backoff, &Exchange::try_place);
}

void Exchange::on_try_timeout() {
  cluster_->note(*place_, 0);
  drop_server();
  if (status_ == 0 && may_retry(HttpRetries::server_error | HttpRetries::reset | HttpRetries::gateway_error)) {
    return retry();
  }
  respond(504, "upstream_timeout", "no answer in time");
}

void Exchange::on_timeout() {
  if (place_) cluster_->note(*place_, 0);
  respond(504, "upstream_timeout", "no whole answer within the route's timeout");
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

void Exchange::on_client_gone(std::string_view why) {
  client_ = nullptr;
  finish(why);
}

void Exchange::drop_server() {
  if (auto* server = std::exchange(server_, nullptr)) server->release();
}

void Exchange::finish(std::string_view how) {
  overall_.stop();
  step_.stop();
  Waiter::unlink();
  drop_server();
  if (is_retry_) cluster_->end_retry();
  for (auto* mirror : mirrors_) mirror->leave();
  mirrors_.clear();
  record(how);
  plan_.reset();
  place_.reset();
  cluster_.reset();
  auto* client = std::exchange(client_, nullptr);
  // The next request may have it as soon as this one's client knows; nothing of it is touched from here on.
  desk_.give_back(*this);
  if (client != nullptr) client->release();
}

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
