// Puts what a role says of itself on the admin socket, and its metrics where they are collected.
#pragma once

#include <boost/json/value.hpp>

#include "serving/status.h"

namespace sluice::cli {

boost::json::value to_json(const serving::StatusView& status);
boost::json::value to_json(const std::vector<serving::Flow>& flows);

// A serving::ServeAdmin.
Result<std::shared_ptr<void>> serve_admin(boost::asio::io_context& control, const settings::Admin& settings,
                                          serving::RoleViews views);

}  // namespace sluice::cli
