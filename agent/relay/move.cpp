#include "relay/move.h"

#include <algorithm>
#include <memory>

namespace sluice::relay {
namespace {

constexpr std::size_t copy_buffer_bytes = 16UL * 1024;  // the most that a TLS record holds

net::Task<MoveEnd> pump_bytes(net::Socket& from, net::Socket& to, std::uint64_t limit, PipePool& pipes,
                              std::uint64_t& moved) {
  Pump pump(from, to, pipes, moved, limit);
  for (;;) {
    const auto need = pump.run();
    if (need == Pump::Need::ended) co_return pump.end();
    bool ready = false;
    if (need == Pump::Need::bytes) ready = co_await from.wait_readable();
    if (need == Pump::Need::turn) ready = co_await from.wait_turn();
    if (need == Pump::Need::room) ready = co_await to.wait_writable();
    if (!ready) co_return need == Pump::Need::room ? MoveEnd::write_failed : MoveEnd::read_failed;
  }
}

net::Task<MoveEnd> copy_bytes(net::Stream& from, net::Stream& to, std::uint64_t limit, std::uint64_t& moved) {
  while (limit > 0) {
    const auto input = co_await from.wait_input();
    if (input == net::Input::end) co_return MoveEnd::end_of_stream;
    if (input == net::Input::broken) co_return MoveEnd::read_failed;
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(limit, copy_buffer_bytes));
    const auto buffer = std::make_unique_for_overwrite<std::uint8_t[]>(want);
    const auto got = co_await from.read_some({buffer.get(), want});
    const auto* size = std::get_if<std::size_t>(&got);
    if (!size) co_return MoveEnd::read_failed;
    if (*size == 0) co_return MoveEnd::end_of_stream;
    const bool written = co_await to.write_all({buffer.get(), *size});
    if (!written) co_return MoveEnd::write_failed;
    limit -= *size;
    moved += *size;
  }
  co_return MoveEnd::limit;
}

}  // namespace

net::Task<MoveEnd> move_bytes(net::Stream& from, net::Stream& to, std::uint64_t limit, PipePool& pipes,
                              std::uint64_t& moved) {
  if (!from.is_plain() || !to.is_plain()) return copy_bytes(from, to, limit, moved);
  return pump_bytes(from.socket(), to.socket(), limit, pipes, moved);
}

}  // namespace sluice::relay
