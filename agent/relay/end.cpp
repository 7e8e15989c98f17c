#include "relay/end.h"

#include <array>

namespace sluice::relay {

std::string_view to_string(End end) {
  constexpr std::array<std::string_view, 9> names = {
      "finished", "client_reset", "upstream_reset", "idle", "no_answer", "cut", "overloaded", "denied", "malformed"};
  return names[static_cast<std::size_t>(end)];
}

End end_of(MoveEnd end, End source_failed, End sink_failed) {
  if (end == MoveEnd::out_of_files) return End::overloaded;
  return end == MoveEnd::read_failed ? source_failed : sink_failed;
}

}  // namespace sluice::relay
