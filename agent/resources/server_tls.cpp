#include "resources/server_tls.h"

#include <algorithm>

#include "resources/fields.h"

namespace sluice::resources {
namespace {

using Type = Field::Type;

constexpr std::pair<std::string_view, ServerTlsMode> modes[] = {{"PASSTHROUGH", ServerTlsMode::passthrough},
                                                                {"SIMPLE", ServerTlsMode::simple},
                                                                {"MUTUAL", ServerTlsMode::mutual},
                                                                {"AUTO_PASSTHROUGH", ServerTlsMode::auto_passthrough},
                                                                {"ISTIO_MUTUAL", ServerTlsMode::istio_mutual},
                                                                {"OPTIONAL_MUTUAL", ServerTlsMode::optional_mutual}};

constexpr std::string_view versions[] = {"TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"};

constexpr Field certificate_fields[] = {{"serverCertificate"}, {"privateKey"}, {"caCertificates"}};

// Read by a gateway that terminates TLS.
constexpr Field other_fields[] = {
    {"caCertificates"},
    {"caCrl"},
    {"caCertCredentialName"},
    {"credentialNames", Type::texts},
    {"tlsCertificates", Type::objects, certificate_fields},
    {"subjectAltNames", Type::texts},
    {"verifyCertificateSpki", Type::texts},
    {"verifyCertificateHash", Type::texts},
    {"minProtocolVersion", Type::choice, {}, versions},
    {"maxProtocolVersion", Type::choice, {}, versions},
    {"cipherSuites", Type::texts},
    {"insecureSkipVerify", Type::flag},
};

bool is_tls(ServerProtocol protocol) {
  return protocol == ServerProtocol::https || protocol == ServerProtocol::tls;
}

bool is_plain_http(ServerProtocol protocol) {
  return protocol == ServerProtocol::http || protocol == ServerProtocol::http2 || protocol == ServerProtocol::grpc ||
         protocol == ServerProtocol::grpc_web;
}

// What is set of a certificate's sources.
struct Sources {
  bool file = false;         // serverCertificate
  bool key = false;          // privateKey
  bool ca = false;           // caCertificates
  bool crl = false;          // caCrl
  bool secret = false;       // credentialName or credentialNames
  bool secret_list = false;  // credentialNames
  bool list = false;         // tlsCertificates

  bool any() const { return file || key || ca || crl || secret || list; }
};

Sources sources_of(const GatewayServer& server, const std::vector<std::string>& others) {
  const auto has = [&](std::string_view name) { return std::find(others.begin(), others.end(), name) != others.end(); };
  Sources sources;
  sources.file = !server.server_certificate.empty();
  sources.key = !server.private_key.empty();
  sources.ca = has("caCertificates");
  sources.crl = has("caCrl");
  sources.secret_list = has("credentialNames");
  sources.secret = !server.credential_name.empty() || sources.secret_list;
  sources.list = has("tlsCertificates");
  return sources;
}

void check_terminating(yaml::Reader& reader, ServerTlsMode mode, const Sources& sources) {
  if (int{sources.secret} + int{sources.list} + int{sources.file || sources.key} > 1) {
    reader.fault("credentialName",
                 "one source of certificates is enough: keep one of credentialName(s), "
                 "tlsCertificates, and serverCertificate with privateKey");
  }
  const bool own = sources.secret || sources.list;
  if (!own && !sources.file) {
    reader.fault("serverCertificate", "is required in this mode, unless credentialName is given");
  }
  if (!own && !sources.key) reader.fault("privateKey", "is required in this mode, unless credentialName is given");
  if (mode != ServerTlsMode::simple && !sources.ca && !sources.secret) {
    reader.fault("caCertificates", "is required in this mode, unless credentialName is given");
  }
  if (sources.crl && (sources.secret || mode == ServerTlsMode::simple)) {
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
    server.tls = ServerTlsMode::passthrough;
    findings.warn("SLU0006", reader.line(), reader.path(),
                  "is required with protocol HTTPS or TLS, and Istio refuses the Gateway; it is taken as PASSTHROUGH "
                  "here: add tls: {mode: PASSTHROUGH}");
    return;
  }
  auto mode = ServerTlsMode::passthrough;
  reader.read<ServerTlsMode>("mode", mode, modes);
  const bool has_mode = reader.find("mode").has_value();
  reader.read("httpsRedirect", server.https_redirect);
  reader.read("credentialName", server.credential_name);
  reader.read("serverCertificate", server.server_certificate);
  reader.read("privateKey", server.private_key);
  const auto sources = sources_of(server, check_fields(reader, other_fields));
  reader.finish();
  if (is_tls(server.protocol)) {
    server.tls = mode;
    if (server.https_redirect) {
      findings.warn("IST0133", reader.line(), reader.path() + ".httpsRedirect", "means nothing here: remove it");
    }
    check_mode(reader, mode, sources, findings);
  } else if (!is_plain_http(server.protocol)) {
    reader.fault("mode", "TLS goes with protocol HTTPS or TLS only: remove it, or change the protocol");
  } else if ((has_mode && mode != ServerTlsMode::passthrough) || sources.any()) {
    reader.fault("mode", "plain HTTP takes httpsRedirect only: remove the rest, or set protocol HTTPS");
  }
}

}  // namespace sluice::resources
