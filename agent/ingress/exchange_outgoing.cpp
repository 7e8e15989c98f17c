#include "ingress/exchange.h"

#include <fmt/format.h>
#include <algorithm>

#include "ingress/client_connection.h"
#include "ingress/desk.h"

// What goes upstream of a request.
namespace sluice::ingress {
namespace {

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

}  // namespace

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

}  // namespace sluice::ingress
