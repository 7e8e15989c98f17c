// PEM files as OpenSSL's objects. Errors name the file. For this module's own files.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "tls/handles.h"

namespace sluice::tls {

// At least one.
Result<std::vector<CertificatePtr>> read_certificates(const std::string& path);
Result<std::vector<CrlPtr>> read_crls(const std::string& path);
Result<KeyPtr> read_key(const std::string& path);

}  // namespace sluice::tls
