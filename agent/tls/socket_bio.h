// A non-blocking TCP socket as OpenSSL sees it. For this module's own files.
#pragma once

#include <cstddef>

#include "net/socket.h"
#include "tls/handles.h"

namespace sluice::tls {

// What one call into OpenSSL may still read, and how the socket failed.
struct SocketState {
  net::Tcp::socket& socket;
  // A peer that sends nothing but records without data would keep OpenSSL reading for as long as they come: when this
  // is used up it is told to wait, and the loop turns.
  std::size_t budget = 0;
  int error = 0;  // errno of the last failure that was not EAGAIN
};

// Reads and writes the socket of `state`, which outlives it. Unlike OpenSSL's own it raises no SIGPIPE.
BioPtr make_socket_bio(SocketState& state);

}  // namespace sluice::tls
