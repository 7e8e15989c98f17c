#include "tls/peer.h"

#include <algorithm>
#include <array>

#include "base/ip.h"
#include "base/sha256.h"
#include "tls/digest.h"

namespace sluice::tls {
namespace {

constexpr std::size_t described_bytes = 256;

using NamesPtr = std::unique_ptr<GENERAL_NAMES, Free<::GENERAL_NAMES_free>>;

// Calls `take(type, text)` for each subject alternative name that is text.
template <typename Take>
void each_name(const X509* certificate, Take take) {
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int index = 0; index < sk_GENERAL_NAME_num(names.get()); ++index) {
    int type = 0;
    const auto* value = ::GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), index), &type);
    if (type != GEN_URI && type != GEN_DNS) continue;
    const auto* text = static_cast<const ASN1_IA5STRING*>(value);
    take(type, std::string(reinterpret_cast<const char*>(::ASN1_STRING_get0_data(text)),
                           static_cast<std::size_t>(::ASN1_STRING_length(text))));
  }
}

// The names are the peer's words: they go to logs without control bytes and not at any length.
std::string printable(std::string text) {
  if (text.size() > described_bytes) text.resize(described_bytes);
  std::replace_if(text.begin(), text.end(), [](unsigned char byte) { return byte < 0x20 || byte > 0x7e; }, '?');
  return text;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text.append(text.empty() ? "" : " or ").append(name);
  return text;
}

std::string base64(ByteSpan bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3), '\0');
  ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(), static_cast<int>(bytes.size()));
  return text;
}

bool has_wanted_hash(const X509* certificate, const PeerRules& rules) {
  if (rules.certificate_hashes.empty() && rules.public_key_hashes.empty()) return true;
  const auto is_one_of = [](const std::vector<std::string>& hashes, const std::string& hash) {
    return std::find(hashes.begin(), hashes.end(), hash) != hashes.end();
  };
  Digest whole{};
  unsigned size = 0;
  if (::X509_digest(certificate, ::EVP_sha256(), whole.data(), &size) != 1) return false;
  if (is_one_of(rules.certificate_hashes, to_hex(whole))) return true;
  unsigned char* key = nullptr;
  const int key_bytes = ::i2d_X509_PUBKEY(::X509_get_X509_PUBKEY(certificate), &key);
  const std::unique_ptr<unsigned char, decltype([](unsigned char* bytes) { OPENSSL_free(bytes); })> owned(key);
  return key_bytes > 0 &&
         is_one_of(rules.public_key_hashes, base64(sha256({key, static_cast<std::size_t>(key_bytes)})));
}

}  // namespace

std::vector<std::string> uri_names(const X509* certificate) {
  std::vector<std::string> uris;
  each_name(certificate, [&](int type, std::string name) {
    if (type == GEN_URI) uris.push_back(std::move(name));
  });
  return uris;
}

bool has_name(X509* certificate, const std::string& name) {
  if (name.find("://") != std::string::npos) {
    const auto uris = uri_names(certificate);
    return uris.size() == 1 && uris.front() == name;
  }
  if (IpAddress::parse(name)) return ::X509_check_ip_asc(certificate, name.c_str(), 0) == 1;
  constexpr unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
  return ::X509_check_host(certificate, name.data(), name.size(), flags, nullptr) == 1;
}

std::string describe_names(const X509* certificate) {
  std::string text;
  each_name(certificate, [&](int type, const std::string& name) {
    if (text.size() > described_bytes) return;
    text.append(text.empty() ? "" : ", ").append(type == GEN_URI ? "" : "DNS:").append(name);
  });
  if (!text.empty()) return printable(std::move(text));
  std::array<char, described_bytes> subject{};
  ::X509_NAME_oneline(::X509_get_subject_name(certificate), subject.data(), subject.size());
  return printable(subject.data());
}

bool is_expired(const X509* certificate) {
  return ::X509_cmp_current_time(::X509_get0_notAfter(certificate)) <= 0;
}

int peer_check_index() {
  static const int index = ::SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

int verify_peer(X509_STORE_CTX* store, void*) noexcept {
  auto* ssl = static_cast<SSL*>(::X509_STORE_CTX_get_ex_data(store, ::SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* found = static_cast<PeerCheck*>(::SSL_get_ex_data(ssl, peer_check_index()));
  if (found == nullptr) return 0;
  auto& check = *found;
  auto* leaf = ::X509_STORE_CTX_get0_cert(store);
  const auto& rules = check.rules;
  if (rules.any_certificate) return 1;
  if (::X509_verify_cert(store) != 1) {
    const auto* at = ::X509_STORE_CTX_get_current_cert(store);
    check.failure = "certificate of " + describe_names(leaf) + ": " +
                    ::X509_verify_cert_error_string(::X509_STORE_CTX_get_error(store));
    if (at && ::X509_cmp(at, leaf) != 0) check.failure += " (" + describe_names(at) + ")";
    return 0;
  }
  const auto fits = [&](const std::string& name) { return has_name(leaf, name); };
  if (!rules.names.empty() && std::none_of(rules.names.begin(), rules.names.end(), fits)) {
    check.failure = "wrong identity: expected " + join(rules.names) + ", found " + describe_names(leaf);
  } else if (!has_wanted_hash(leaf, rules)) {
    check.failure = "certificate of " + describe_names(leaf) + ": neither it nor its key has one of the hashes wanted";
  }
  if (check.failure.empty()) return 1;
  ::X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
  return 0;
}

}  // namespace sluice::tls
