// The answers of /status and /flows for people. Pure.
#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace sluice::admin {

// What is wrong comes first, then a table. `status` may lack any member: the row is left out.
std::string format_status(const boost::json::value& status);

// One row a connection, widest columns cut.
std::string format_flows(const boost::json::value& flows);

}  // namespace sluice::admin
