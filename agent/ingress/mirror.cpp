#include "ingress/mirror.h"

#include <fmt/format.h>

#include <utility>

#include "ingress/desk.h"

namespace sluice::ingress {
namespace {

constexpr net::Milliseconds longest_time{60'000};
constexpr std::size_t max_waiting_bytes = 64UL * 1024;

// "a.example:80" as "a.example-shadow:80", by which the server knows a copy, as with Istio.
std::string shadow_of(std::string_view authority) {
  const auto colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
  const auto host = authority.substr(0, has_port ? colon : authority.size());
  return fmt::format("{}-shadow{}", host, authority.substr(host.size()));
}

}  // namespace

Mirror& Mirror::begin(Desk& desk, std::shared_ptr<Cluster> cluster, const OutgoingRequest& request) {
  auto& mirror = desk.add(std::unique_ptr<Mirror>(new Mirror(desk, std::move(cluster))));
  auto& arena = mirror.arena_;
  for (const auto& field : *request.fields) mirror.fields_.push_back({arena.keep(field.name), arena.keep(field.value)});
  auto& copy = mirror.request_;
  copy = request;
  copy.method = arena.keep(request.method);
  copy.authority = arena.keep(shadow_of(request.authority));
  copy.target = arena.keep(request.target);
  copy.content_length = arena.keep(request.content_length);
  copy.upgrade = {};
  copy.fields = &mirror.fields_;
  mirror.ended_ = request.ends;
  mirror.arm(desk.timeouts(), longest_time);
  if (mirror.cluster_->is_ready(mirror)) mirror.send();
  return mirror;
}

Mirror::~Mirror() = default;

void Mirror::send() {
  const auto place = cluster_->choose({});
  Cluster::NoStream why;
  if (place) server_ = cluster_->open(place, *this, why);
  if (server_ == nullptr) return give_up();
  server_->send_request(request_);
  server_->send_content(content_);
  content_ = {};
  if (ended_ && !request_.ends) server_->send_end(trailers_);
}

void Mirror::add(ByteSpan content) {
  if (over_) return;
  if (server_ != nullptr && !server_->is_full()) return server_->send_content(content);
  if (server_ != nullptr || content_.size() + content.size() > max_waiting_bytes) return give_up();
  content_.insert(content_.end(), content.begin(), content.end());
}

void Mirror::end(const Fields& trailers) {
  ended_ = true;
  if (over_) return;
  for (const auto& field : trailers) trailers_.push_back({arena_.keep(field.name), arena_.keep(field.value)});
  if (server_ != nullptr) server_->send_end(trailers_);
}

void Mirror::leave() {
  if (!ended_) give_up();
  left_ = true;
  if (over_) desk_.dismiss(*this);
}

void Mirror::on_answer(const Answer& answer) {
  if (answer.ends) give_up();
}

void Mirror::give_up() {
  if (std::exchange(over_, true)) return;
  disarm();
  Waiter::unlink();
  if (auto* server = std::exchange(server_, nullptr)) server->release();
  if (left_) desk_.dismiss(*this);
}

}  // namespace sluice::ingress
