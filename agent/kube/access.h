// How the API server is reached and what it is shown: of a pod's service account, or of a kubeconfig file. Pure: files
// that are named here are read by others.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::kube {

// PEM: a file, or the text itself; both empty: none.
struct Pem {
  std::string file;
  std::string text;
  bool empty() const { return file.empty() && text.empty(); }
};

struct Access {
  std::string host;  // a name, or an address without brackets
  std::uint16_t port = 443;
  bool tls = true;
  std::string path;         // in front of every path, without a final '/'
  std::string server_name;  // that the server's certificate is for; empty: `host`
  bool skip_verification = false;
  Pem roots;  // of the server's certificate; none: the system's
  Pem certificate;
  Pem key;
  std::string token;       // bearer token, unless
  std::string token_file;  // it is in a file, which is replaced as it expires
};

inline constexpr std::string_view service_account_directory = "/var/run/secrets/kubernetes.io/serviceaccount";

// Of a pod. `host` and `port`: what KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT say.
Result<Access> in_cluster(std::string_view host, std::string_view port, const std::string& directory);

// Of a kubeconfig (v1 Config). `path` is where the text is from: it is named in errors, and its directory is what
// relative file names are relative to. `context` empty: the current one. Credentials that a program or a provider has
// to be asked for are refused, as are passwords. Nothing of the text's secrets is ever in an error.
Result<Access> parse_kubeconfig(std::string_view text, const std::string& path, std::string_view context);

}  // namespace sluice::kube
