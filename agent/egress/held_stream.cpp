#include "egress/held_stream.h"

#include <algorithm>

#include "wire/tcp_segment.h"

namespace sluice::egress {

HeldStream::Added HeldStream::add(std::uint32_t sequence, ByteSpan payload) {
  const std::int64_t offset = wire::sequence_distance(first_, sequence);
  const auto begin = static_cast<std::size_t>(std::max<std::int64_t>(offset, 0));
  const auto before = static_cast<std::size_t>(std::max<std::int64_t>(-offset, 0));
  payload = payload.subspan(std::min(before, payload.size()));
  if (payload.empty()) return Added::nothing_new;
  const auto room = max_bytes - std::min(begin, max_bytes);
  const bool fits = payload.size() <= room;
  if (!fits) payload = payload.first(room);
  const Piece piece{static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(begin + payload.size())};
  if (contradicts(piece, payload)) return Added::conflict;
  const auto added = payload.empty() ? Added::nothing_new : take(piece, payload);
  return fits ? added : Added::too_large;
}

bool HeldStream::contradicts(Piece piece, ByteSpan payload) const {
  return std::any_of(pieces_.begin(), pieces_.begin() + count_, [&](const Piece& held) {
    const auto begin = std::max(held.begin, piece.begin);
    const auto end = std::min(held.end, piece.end);
    if (begin >= end) return false;
    const auto came = payload.subspan(begin - piece.begin, end - begin);
    return !std::equal(came.begin(), came.end(), buffer_.begin() + begin);
  });
}

HeldStream::Added HeldStream::take(Piece piece, ByteSpan payload) {
  const auto all_end = pieces_.begin() + count_;
  // Those that the new one overlaps or touches become one with it.
  auto* const joined = std::find_if(pieces_.begin(), all_end, [&](const Piece& p) { return p.end >= piece.begin; });
  auto* const joined_end = std::find_if(joined, all_end, [&](const Piece& p) { return p.begin > piece.end; });
  if (joined == joined_end) {
    if (count_ == pieces_.size()) return Added::nothing_new;
    store(piece, payload);
    std::move_backward(joined, all_end, all_end + 1);
    *joined = piece;
    ++count_;
    return Added::more;
  }
  if (joined->begin <= piece.begin && piece.end <= joined->end) return Added::nothing_new;
  store(piece, payload);
  *joined = {std::min(joined->begin, piece.begin), std::max((joined_end - 1)->end, piece.end)};
  std::move(joined_end, all_end, joined + 1);
  count_ -= static_cast<std::size_t>(joined_end - joined) - 1;
  return Added::more;
}

void HeldStream::store(Piece piece, ByteSpan payload) {
  if (piece.end > buffer_.size()) {
    // Growing by itself, the buffer would pass the bound.
    if (piece.end > buffer_.capacity()) {
      buffer_.reserve(std::min(max_bytes, std::max<std::size_t>(piece.end, 2 * buffer_.capacity())));
    }
    buffer_.resize(piece.end);
  }
  std::copy(payload.begin(), payload.end(), buffer_.begin() + piece.begin);
}

}  // namespace sluice::egress
