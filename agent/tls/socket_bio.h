// A non-blocking TCP socket as OpenSSL sees it. For this module's own files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "net/socket.h"
#include "tls/handles.h"

namespace sluice::tls {

// What passes between OpenSSL and the socket.
struct SocketState {
  net::Socket& socket;
  // Records that the socket would not take yet. OpenSSL is told that they are written: asked to write again later, it
  // breaks the connection when the peer wants new keys meanwhile. A peer that makes it write more while it reads
  // nothing is cut off.
  std::vector<std::uint8_t> unsent = {};  // NOLINT(readability-redundant-member-init): it may be left out
  // What may be read until the loop has turned. A peer that never stops sending, be it records without data, would
  // keep its reader from ever waiting: when this is used up OpenSSL is told to wait.
  std::size_t budget = 0;
  // Where each event of the socket is told, edge-triggered, a read that took all there was needs no second one to say
  // so: until the next event `drained` is that answer.
  bool told = false;
  bool drained = false;
  // Where set, records are put here instead of being sent, for who sends several of them at once.
  std::vector<std::uint8_t>* gathered = nullptr;
  int error = 0;  // errno of the last failure that was not EAGAIN
};

// Sends what it can of `unsent` without waiting; false when the socket broke.
bool send_unsent(SocketState& state);
// Sends what it can of `bytes`, behind which nothing is unsent, and keeps the rest there; false when the socket broke.
bool send_now(SocketState& state, ByteSpan bytes);
// The same behind what is unsent; false also when that has become too much.
bool send_behind(SocketState& state, ByteSpan bytes);

// Reads and writes the socket of `state`, which outlives it. Unlike OpenSSL's own it raises no SIGPIPE.
BioPtr make_socket_bio(SocketState& state);

}  // namespace sluice::tls
