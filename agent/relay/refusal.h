// Telling a client that its call was denied, in its own protocol and at once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/stream.h"
#include "policy/reason.h"
#include "policy/snapshot.h"

namespace sluice::relay {

// The HTTP answer: 403 for what policy denies, 400 or 408 for what cannot be read, 502, 503 or 504 for what
// failed behind us. It names host and reason, and closes the connection.
std::string http_refusal(Reason reason, std::string_view host, std::string_view detail);

// What a client that speaks `sniffed` is told: a TLS alert or an HTTP answer; empty: nothing but RST.
std::vector<std::uint8_t> refusal_answer(Sniffed sniffed, Reason reason, std::string_view host,
                                         std::string_view detail);

// Answers by what the client speaks (TLS alert, HTTP answer, else RST) and closes `client`.
net::Task<void> refuse(net::Stream& client, Sniffed sniffed, Reason reason, std::string_view host,
                       std::string_view detail);

}  // namespace sluice::relay
