// Secrets by their names, a file for each key: in a directory, as Kubernetes mounts them, or as somebody tells them.
#pragma once

#include <map>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace sluice::tls {

// For one thread.
class SecretStore {
 public:
  // Empty: there is no directory, and all that there is is told.
  explicit SecretStore(std::string directory) : directory_(std::move(directory)) {}

  // From now on the Secrets are these, by name and key. They are in memory alone. Those that are as before keep their
  // files; after an error all are.
  using Keys = std::map<std::string, std::string>;
  Status replace(const std::map<std::string, Keys>& secrets);

  // Where the key is, or would be.
  std::string path(const std::string& secret, const std::string& key) const;
  // The Secret, in words.
  std::string describe(const std::string& secret) const;

 private:
  struct Told {
    Keys keys;
    std::map<std::string, UniqueFd> files;
  };

  const std::string directory_;
  std::map<std::string, Told> told_;
};

}  // namespace sluice::tls
