// What a client's connection speaks, once its TLS is there.
#pragma once

#include <string_view>

namespace sluice::ingress {

class ServerCodec {
 public:
  virtual ~ServerCodec() = default;

  // Something may be there to read, or may be taken of what was kept.
  virtual void on_input() = 0;
  // Writes what it has to say to the channel, as far as that is not full; false: nothing is there to be sent.
  virtual bool produce() = 0;
  // What was written has gone far enough for more.
  virtual void on_room() = 0;
  // The client's end was announced; what it sent before may be unread.
  virtual void on_peer_end() = 0;
  // The connection is over: exchanges end. `why` as in records.
  virtual void on_gone(std::string_view why) = 0;
  // The head that has begun takes too long.
  virtual void on_late_head() = 0;
  // The same of the content behind it; false: there is nothing to be said to that.
  virtual bool on_late_content() = 0;
  // The process ends: what the client sends before it knows is served.
  virtual void on_drain() = 0;
  // Nothing has come for as long as is waited: it ends.
  virtual void on_idle() = 0;
  // No request is under way.
  virtual bool is_idle() const = 0;
  // Bytes of the client are due: of a request that has begun.
  virtual bool awaits_client() const = 0;
};

}  // namespace sluice::ingress
