// Puts what a role says of itself on the admin socket.
#pragma once

#include <boost/json/value.hpp>

#include "serving/status.h"

namespace sluice::cli {

boost::json::value to_json(const serving::StatusView& status);
boost::json::value to_json(const std::vector<serving::Flow>& flows);

// A serving::ServeAdmin.
Result<std::shared_ptr<void>> serve_admin(boost::asio::io_context& control, const std::string& path,
                                          serving::RoleViews views);

}  // namespace sluice::cli
