// The answers of /status and /flows for people. Pure.
#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace sluice::admin {

// What is wrong comes first, then a table. `status` may lack any member: the row is left out.
std::string format_status(const boost::json::value& status);

// One row a connection, widest columns cut.
std::string format_flows(const boost::json::value& flows);

// 1536 -> "1.5 KiB", 93784 -> "1d 2h".
std::string format_bytes(std::uint64_t bytes);
std::string format_seconds(std::uint64_t seconds);

}  // namespace sluice::admin
