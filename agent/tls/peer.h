// Whose certificate it is: the names in it, and what is demanded of them. For this module's own files.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tls/handles.h"

namespace sluice::tls {

// The URIs among the subject alternative names (RFC 5280 section 4.2.1.6), as they stand there.
std::vector<std::string> uri_names(const X509* certificate);
// Does the certificate carry `name`? "scheme://..." must equal its only URI (SPIFFE X.509-SVID section 2: an identity
// is one URI), an IP address one of its addresses, anything else one of its DNS names, wildcards by RFC 6125.
bool has_name(X509* certificate, const std::string& name);
// All names, or the subject when it has none: printable and bounded, for records.
std::string describe_names(const X509* certificate);
// notAfter is in the past.
bool is_expired(const X509* certificate);

// What is demanded of a peer's certificate besides its chain.
struct PeerRules {
  std::vector<std::string> names;               // any of them; empty: any name
  std::vector<std::string> certificate_hashes;  // SHA-256 of the certificate, lower-case hexadecimal
  std::vector<std::string> public_key_hashes;   // SHA-256 of its public key (SubjectPublicKeyInfo), base64
  bool any_certificate = false;                 // whatever it is, it will do
};

// Of one connection, and why it was not met.
struct PeerCheck {
  PeerRules rules;
  std::string failure;
};
// A cert_verify_callback: verifies the chain as OpenSSL does, then the rules of the PeerCheck at peer_check_index(): a
// name, and where there are hashes one of either kind.
int verify_peer(X509_STORE_CTX* store, void*) noexcept;
// Where a connection (SSL) has its PeerCheck.
int peer_check_index();

}  // namespace sluice::tls
