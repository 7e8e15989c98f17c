// The API server as it is set to be reached: connections to it, and the credentials that requests carry. Whatever is in
// files is read again when they change: tokens, certificates, authorities, and the kubeconfig itself.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/file_version.h"
#include "base/result.h"
#include "kube/access.h"
#include "net/socket.h"
#include "settings/settings.h"
#include "sources/api_connection.h"
#include "tls/context.h"

namespace sluice::sources {

// Belongs to one thread.
class ApiServer {
 public:
  // Fails when the settings lead nowhere. Files that they name may come later.
  static Result<std::unique_ptr<ApiServer>> open(settings::Kubernetes settings);

  // A new connection, or why there is none. Bounded in time.
  net::Task<Result<std::unique_ptr<ApiConnection>>> connect();
  // A request for `target` with the credentials of now.
  Result<ApiRequest> request(const std::string& target);

  // "10.96.0.1:443"
  std::string name() const;

 private:
  explicit ApiServer(settings::Kubernetes settings) : settings_(std::move(settings)) {}

  // Reads the kubeconfig when it changed.
  Status refresh();
  Status adopt(kube::Access access);
  Result<std::string> file_of(const kube::Pem& pem);

  const settings::Kubernetes settings_;
  std::optional<FileVersion> read_;  // of the kubeconfig
  kube::Access access_;
  std::vector<UniqueFd> texts_;  // certificates and keys that stand in the kubeconfig itself, as anonymous files
  std::shared_ptr<tls::ClientContext> context_;
  std::optional<FileVersion> token_read_;
  std::string token_;
};

}  // namespace sluice::sources
