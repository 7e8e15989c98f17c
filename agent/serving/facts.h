// What records say of a call, from what was learnt of it.
#pragma once

#include <string_view>

#include "identity/pod.h"
#include "identity/process.h"
#include "observe/audit.h"
#include "policy/snapshot.h"
#include "relay/first_bytes.h"

namespace sluice::serving {

// "tls", "http" or "tcp".
std::string_view protocol_name(Sniffed sniffed);

observe::PodFacts pod_facts(const identity::Pod& pod);
observe::ProcessFacts process_facts(identity::Process process);

// Protocol and, of TLS, what the ClientHello says; of HTTP, the request.
void describe(const relay::FirstBytes& first, observe::Record& record);
// The name that policy judges: SNI or Host; empty: none.
std::string_view named_host(const relay::FirstBytes& first);

}  // namespace sluice::serving
