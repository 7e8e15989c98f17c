#include "base/result.h"

#include <system_error>

namespace sluice {

Error Error::from_errno(std::string_view what, int code) {
  return Error(std::string(what) + ": " + std::generic_category().message(code));
}

Error Error::in(std::string_view context) const {
  return Error(std::string(context) + ": " + message_);
}

}  // namespace sluice
