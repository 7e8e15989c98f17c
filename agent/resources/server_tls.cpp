#include "resources/server_tls.h"

#include <algorithm>

#include "resources/fields.h"
#include "resources/names.h"

namespace sluice::resources {
namespace {

constexpr std::pair<std::string_view, ServerTlsMode> modes[] = {{"PASSTHROUGH", ServerTlsMode::passthrough},
                                                                {"SIMPLE", ServerTlsMode::simple},
                                                                {"MUTUAL", ServerTlsMode::mutual},
                                                                {"AUTO_PASSTHROUGH", ServerTlsMode::auto_passthrough},
                                                                {"ISTIO_MUTUAL", ServerTlsMode::istio_mutual},
                                                                {"OPTIONAL_MUTUAL", ServerTlsMode::optional_mutual}};

constexpr std::pair<std::string_view, TlsVersion> versions[] = {{"TLS_AUTO", TlsVersion::automatic},
                                                                {"TLSV1_0", TlsVersion::v1_0},
                                                                {"TLSV1_1", TlsVersion::v1_1},
                                                                {"TLSV1_2", TlsVersion::v1_2},
                                                                {"TLSV1_3", TlsVersion::v1_3}};

constexpr std::size_t max_certificates = 2;  // RSA and ECDSA
constexpr std::size_t sha256_hex_digits = 64;
constexpr std::size_t sha256_base64_bytes = 44;

bool is_tls(ServerProtocol protocol) {
  return protocol == ServerProtocol::https || protocol == ServerProtocol::tls;
}

bool is_plain_http(ServerProtocol protocol) {
  return protocol == ServerProtocol::http || protocol == ServerProtocol::http2 || protocol == ServerProtocol::grpc ||
         protocol == ServerProtocol::grpc_web;
}

// What is set of a certificate's sources.
struct Sources {
  bool file = false;     // serverCertificate
  bool key = false;      // privateKey
  bool ca = false;       // caCertificates
  bool crl = false;      // caCrl
  bool secret = false;   // credentialName
  bool secrets = false;  // credentialNames
  bool list = false;     // tlsCertificates

  bool any() const { return file || key || ca || crl || secret || secrets || list; }
};

// SHA-256 as hexadecimal digits, with or without colons between bytes.
void read_hashes(yaml::Reader& reader, std::vector<std::string>& hashes) {
  for (const auto& item : reader.list("verifyCertificateHash", max_list_items)) {
    auto digits = normalise_name(item.text().value_or(""));
    std::erase(digits, ':');
    if (digits.size() != sha256_hex_digits || digits.find_first_not_of("0123456789abcdef") != digits.npos)
      item.fault("expected a SHA-256 hash in hexadecimal digits, found " + item.shown());
    hashes.push_back(std::move(digits));
  }
}

void read_key_hashes(yaml::Reader& reader, std::vector<std::string>& hashes) {
  for (const auto& item : reader.list("verifyCertificateSpki", max_list_items)) {
    auto text = item.text().value_or("");
    if (text.size() != sha256_base64_bytes || !text.ends_with('='))
      item.fault("expected a SHA-256 hash in base64, found " + item.shown());
    hashes.push_back(std::move(text));
  }
}

CertificateFiles read_files(yaml::Reader& reader) {
  CertificateFiles files;
  reader.read("serverCertificate", files.certificate);
  reader.read("privateKey", files.private_key);
  return files;
}

void read_file_list(yaml::Reader& reader, ServerTls& tls) {
  for (const auto& item : reader.list("tlsCertificates", max_certificates)) {
    yaml::Reader one(item);
    auto files = read_files(one);
    one.read("caCertificates", tls.ca_certificates);
    one.finish();
    if (files.certificate.empty() || files.private_key.empty())
      item.fault("serverCertificate and privateKey are required");
    tls.files.push_back(std::move(files));
  }
}

// Everything but the mode.
Sources read_settings(yaml::Reader& reader, ServerTls& tls) {
  Sources sources;
  std::string credential;
  reader.read("credentialName", credential);
  sources.secret = !credential.empty();
  if (sources.secret) tls.credentials.push_back(std::move(credential));
  for (const auto& item : reader.list("credentialNames", max_certificates)) {
    if (auto name = item.text()) tls.credentials.push_back(*std::move(name));
    sources.secrets = true;
  }
  read_file_list(reader, tls);
  sources.list = !tls.files.empty();
  auto files = read_files(reader);
  sources.file = !files.certificate.empty();
  sources.key = !files.private_key.empty();
  if (sources.file || sources.key) tls.files.push_back(std::move(files));
  reader.read("caCertificates", tls.ca_certificates);
  reader.read("caCrl", tls.ca_crl);
  reader.read("caCertCredentialName", tls.ca_credential);
  sources.ca = !tls.ca_certificates.empty() || !tls.ca_credential.empty();
  sources.crl = !tls.ca_crl.empty();
  tls.subject_alt_names = read_texts(reader, "subjectAltNames");
  read_hashes(reader, tls.certificate_hashes);
  read_key_hashes(reader, tls.public_key_hashes);
  reader.read<TlsVersion>("minProtocolVersion", tls.min_version, versions);
  reader.read<TlsVersion>("maxProtocolVersion", tls.max_version, versions);
  tls.cipher_suites = read_texts(reader, "cipherSuites");
  reader.read("insecureSkipVerify", tls.insecure_skip_verify);
  return sources;
}

// TLS 1.2 is the least that is spoken unless an older one is asked for.
void check_versions(yaml::Reader& reader, const ServerTls& tls) {
  const auto min = tls.min_version == TlsVersion::automatic ? TlsVersion::v1_0 : tls.min_version;
  const auto max = tls.max_version == TlsVersion::automatic ? TlsVersion::v1_3 : tls.max_version;
  if (max < min) reader.fault("maxProtocolVersion", "is below minProtocolVersion: no version is left");
}

void check_terminating(yaml::Reader& reader, ServerTlsMode mode, const Sources& sources) {
  const bool has_secret = sources.secret || sources.secrets;
  const int count = int{sources.secret} + int{sources.secrets} + int{sources.list} + int{sources.file || sources.key};
  if (count > 1) {
    reader.fault("credentialName",
                 "one source of certificates is enough: keep one of credentialName, credentialNames, "
                 "tlsCertificates, and serverCertificate with privateKey");
  }
  const bool own = has_secret || sources.list;
  if (!own && !sources.file) {
    reader.fault("serverCertificate", "is required in this mode, unless credentialName is given");
  }
  if (!own && !sources.key) reader.fault("privateKey", "is required in this mode, unless credentialName is given");
  if (mode != ServerTlsMode::simple && !sources.ca && !has_secret) {
    reader.fault("caCertificates", "is required in this mode, unless credentialName is given");
  }
  if (sources.crl && (has_secret || mode == ServerTlsMode::simple)) {
    reader.fault("caCrl", "goes with caCertificates in modes MUTUAL and OPTIONAL_MUTUAL only: remove it");
  }
}

void check_mode(yaml::Reader& reader, ServerTlsMode mode, const Sources& sources, Findings& findings) {
  switch (mode) {
    case ServerTlsMode::passthrough:
    case ServerTlsMode::auto_passthrough:
      if (sources.any()) {
        findings.warn("IST0133", reader.line(), reader.path(),
                      "TLS is passed through, so its certificates are not used: remove them, or set mode SIMPLE");
      }
      return;
    case ServerTlsMode::istio_mutual:
      if (sources.any()) reader.fault("mode", "ISTIO_MUTUAL uses the mesh's own certificates: remove the others");
      return;
    case ServerTlsMode::simple:
    case ServerTlsMode::mutual:
    case ServerTlsMode::optional_mutual:
      return check_terminating(reader, mode, sources);
  }
}

}  // namespace

void read_server_tls(yaml::Reader reader, GatewayServer& server, Findings& findings) {
  if (!reader.present()) {
    if (!is_tls(server.protocol)) return;
    server.tls.emplace();
    findings.warn("SLU0006", reader.line(), reader.path(),
                  "is required with protocol HTTPS or TLS, and Istio refuses the Gateway; it is taken as PASSTHROUGH "
                  "here: add tls: {mode: PASSTHROUGH}");
    return;
  }
  ServerTls tls;
  reader.read<ServerTlsMode>("mode", tls.mode, modes);
  const bool has_mode = reader.find("mode").has_value();
  reader.read("httpsRedirect", server.https_redirect);
  const auto sources = read_settings(reader, tls);
  check_versions(reader, tls);
  reader.finish();
  if (is_tls(server.protocol)) {
    if (server.https_redirect) {
      findings.warn("IST0133", reader.line(), reader.path() + ".httpsRedirect", "means nothing here: remove it");
      server.https_redirect = false;
    }
    check_mode(reader, tls.mode, sources, findings);
    server.tls = std::move(tls);
  } else if (!is_plain_http(server.protocol)) {
    reader.fault("mode", "TLS goes with protocol HTTPS or TLS only: remove it, or change the protocol");
  } else if ((has_mode && tls.mode != ServerTlsMode::passthrough) || sources.any()) {
    reader.fault("mode", "plain HTTP takes httpsRedirect only: remove the rest, or set protocol HTTPS");
  }
}

}  // namespace sluice::resources
