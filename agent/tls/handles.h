// OpenSSL's objects as owners, and its errors as text. For this module's own files.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

namespace sluice::tls {

template <auto free>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};

using SslCtxPtr = std::unique_ptr<SSL_CTX, Free<::SSL_CTX_free>>;
using SessionPtr = std::unique_ptr<SSL_SESSION, Free<::SSL_SESSION_free>>;
using BioPtr = std::unique_ptr<BIO, Free<::BIO_free_all>>;
using CertificatePtr = std::unique_ptr<X509, Free<::X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Free<::EVP_PKEY_free>>;
using CrlPtr = std::unique_ptr<X509_CRL, Free<::X509_CRL_free>>;

// The last error of this thread's queue, which is empty afterwards.
inline std::string take_error() {
  const auto code = ::ERR_peek_last_error();
  const char* text = ::ERR_reason_error_string(code);
  ::ERR_clear_error();
  return text ? text : "unknown error";
}

}  // namespace sluice::tls
