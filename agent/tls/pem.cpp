#include "tls/pem.h"

#include <cerrno>
#include <fstream>

namespace sluice::tls {
namespace {

constexpr std::size_t max_file_bytes = 4UL * 1024 * 1024;

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return Error::from_errno("open " + path, errno);
  const auto size = static_cast<std::size_t>(file.tellg());
  if (size > max_file_bytes) return Error(path + ": too large: at most 4 MiB");
  std::string text(size, '\0');
  file.seekg(0).read(text.data(), static_cast<std::streamsize>(size));
  if (!file) return Error("read " + path + ": failed");
  return text;
}

BioPtr as_bio(const std::string& text) {
  return BioPtr(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// No passphrase, and nobody at a terminal to ask.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

// All objects of one kind in a file, at least one.
template <typename Pointer, auto read>
Result<std::vector<Pointer>> read_all(const std::string& path, const char* what) {
  const auto text = read_file(path);
  if (!text) return text.error();
  const auto bio = as_bio(*text);
  std::vector<Pointer> objects;
  while (auto* object = read(bio.get(), nullptr, no_passphrase, nullptr)) objects.emplace_back(object);
  const bool at_end = ERR_GET_REASON(::ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const auto why = take_error();
  if (objects.empty() && at_end) return Error(path + ": no " + what + " in it");
  if (!at_end) return Error(path + ": bad " + what + ": " + why);
  return objects;
}

}  // namespace

Result<std::vector<CertificatePtr>> read_certificates(const std::string& path) {
  return read_all<CertificatePtr, ::PEM_read_bio_X509>(path, "certificate");
}

Result<std::vector<CrlPtr>> read_crls(const std::string& path) {
  return read_all<CrlPtr, ::PEM_read_bio_X509_CRL>(path, "CRL");
}

Result<KeyPtr> read_key(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return text.error();
  KeyPtr key(::PEM_read_bio_PrivateKey(as_bio(*text).get(), nullptr, no_passphrase, nullptr));
  if (!key) return Error(path + ": no private key without passphrase in it: " + take_error());
  return key;
}

}  // namespace sluice::tls
