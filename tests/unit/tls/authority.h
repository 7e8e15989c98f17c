// A certificate authority of the test's own (EC P-256), and a directory for its PEM files.
#pragma once

#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tls/handles.h"

namespace sluice::tls {

struct Subject {
  std::string names;      // subjectAltName as in openssl.cnf: "URI:spiffe://a,DNS:b,IP:10.0.0.1"
  long begins_s = -3600;  // from now
  long ends_s = 3600;
  bool authority = false;
};

struct Issued {
  CertificatePtr certificate;
  KeyPtr key;

  std::string pem() const {
    const BioPtr bio(::BIO_new(::BIO_s_mem()));
    ::PEM_write_bio_X509(bio.get(), certificate.get());
    return text(bio.get());
  }
  std::string key_pem() const {
    const BioPtr bio(::BIO_new(::BIO_s_mem()));
    ::PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    return text(bio.get());
  }

 private:
  static std::string text(BIO* bio) {
    char* data = nullptr;
    const auto size = ::BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
  }
};

class Authority {
 public:
  explicit Authority(const std::string& name) : self_(sign({{}, -7200, 7200, true}, name, nullptr)) {}
  // An authority that `parent` vouches for.
  Authority(const Authority& parent, const std::string& name, long begins_s, long ends_s)
      : self_(sign({{}, begins_s, ends_s, true}, name, &parent.self_)) {}

  Issued issue(const Subject& subject) const { return sign(subject, "leaf", &self_); }
  std::string pem() const { return self_.pem(); }

 private:
  static Issued sign(const Subject& subject, const std::string& name, const Issued* issuer) {
    Issued made{CertificatePtr(::X509_new()), KeyPtr(::EVP_EC_gen("P-256"))};
    auto* certificate = made.certificate.get();
    std::uint32_t serial = 0;
    ::RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
    ::X509_set_version(certificate, X509_VERSION_3);
    ::ASN1_INTEGER_set_uint64(::X509_get_serialNumber(certificate), serial);
    ::X509_gmtime_adj(::X509_getm_notBefore(certificate), subject.begins_s);
    ::X509_gmtime_adj(::X509_getm_notAfter(certificate), subject.ends_s);
    ::X509_NAME_add_entry_by_txt(::X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    const auto* parent = issuer ? issuer->certificate.get() : certificate;
    ::X509_set_issuer_name(certificate, ::X509_get_subject_name(parent));
    ::X509_set_pubkey(certificate, made.key.get());
    extend(certificate, NID_basic_constraints, subject.authority ? "critical,CA:TRUE" : "CA:FALSE");
    if (!subject.names.empty()) extend(certificate, NID_subject_alt_name, subject.names);
    ::X509_sign(certificate, issuer ? issuer->key.get() : made.key.get(), ::EVP_sha256());
    return made;
  }
  static void extend(X509* certificate, int nid, const std::string& value) {
    const std::unique_ptr<X509_EXTENSION, Free<::X509_EXTENSION_free>> extension(
        ::X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str()));
    ::X509_add_ext(certificate, extension.get(), -1);
  }

  Issued self_;
};

class Directory {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "tls.XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  // Replaces the file at once, as kubelet and certificate agents do.
  std::string write(const std::string& name, const std::string& text) const {
    const auto path = path_ / name;
    std::ofstream(path.string() + ".new") << text;
    std::filesystem::rename(path.string() + ".new", path);
    return path;
  }

  std::string path(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace sluice::tls
