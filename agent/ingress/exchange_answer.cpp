#include "ingress/exchange.h"

#include <algorithm>
#include <utility>

#include "ingress/client_connection.h"
#include "ingress/desk.h"

// What a server answers, or why none does, and what is tried again.
namespace sluice::ingress {
namespace {

// Connections that a server closed while they were kept say nothing of the server: the request is sent once more.
constexpr unsigned max_stale_tries = 3;

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

}  // namespace

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

}  // namespace sluice::ingress
