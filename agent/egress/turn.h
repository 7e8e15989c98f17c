// What the calls of the gate decide in one turn of their thread, carried out together: one write to the log and one to
// the kernel, however many calls there are.
//
// The order is what makes a call safe at every moment in which this process may end:
//   allow   the open record is in the log, the verdict stands and with it the kernel keeps what will be sent; only then
//           the first byte goes
//   deny    the verdict stands, the record is in the log, the kernel is told so
//   close   the record is in the log, the kernel is told so
// Whoever starts next finds in the kernel what was begun, and in the log what was recorded.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "kernel/flows.h"
#include "observe/audit.h"
#include "serving/recorder.h"

namespace sluice::egress {

enum class Settled : std::uint8_t {
  done,
  too_late,      // the flow had ended: the kernel tells of it, and its last record is to be written then
  not_recorded,  // allow: the log cannot be written
  no_room,       // allow: the kernel has none for what is to be sent; it was recorded as opened
};

// Who waits for a verdict to stand.
class Judged {
 public:
  virtual void settled(Settled how) = 0;

 protected:
  Judged() = default;
  Judged(const Judged&) = default;
  Judged& operator=(const Judged&) = default;
  ~Judged() = default;
};

// Belongs to one thread.
class Turn {
 public:
  Turn(kernel::Flows& flows, serving::Recorder& recorder) : flows_(flows), recorder_(recorder) {}

  // Each is carried out by commit(), until which `call` and the bytes of `header` have to stay where they are. Without
  // a record when a predecessor has written it.
  void allow(Judged& call, ByteSpan header, std::optional<observe::Record> open, kernel::Verdict verdict);
  // `record` is written when the verdict stands; its bytes are those of this moment.
  void deny(Judged& call, kernel::Verdict verdict, observe::Record record);
  // Of a flow that has ended or was denied.
  void close(const kernel::FlowKey& key, std::optional<observe::Record> record);

  // What settled() begins anew is carried out too.
  void commit();

 private:
  struct Allowing {
    Judged* call;
    ByteSpan header;
    std::optional<observe::Record> record;
    kernel::Verdict verdict;
  };
  struct Denying {
    Judged* call;
    kernel::Verdict verdict;
    observe::Record record;
  };
  struct Closing {
    kernel::FlowKey key;
    std::optional<observe::Record> record;
  };

  bool keep_headers(const std::vector<Allowing>& allowing);
  void stop(std::vector<Denying>& denying);

  kernel::Flows& flows_;
  serving::Recorder& recorder_;
  std::vector<Allowing> allowing_;
  std::vector<Denying> denying_;
  std::vector<Closing> closing_;
};

}  // namespace sluice::egress
