#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::kube {

// RFC 4648 section 4, with padding; line breaks are left out. nullopt: it is something else.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace sluice::kube
