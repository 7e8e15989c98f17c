#include "ingress/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "ingress/client_connection.h"
#include "ingress/desk.h"
#include "ingress/mirror.h"
#include "policy/http_path.h"

namespace sluice::ingress {
namespace {

// Of a request's content, so much is kept to send it once more.
constexpr std::size_t resend_bytes = 64UL * 1024;

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

}  // namespace sluice::ingress
