// Paths of requests, as rules may compare them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// Would every server read the path (without query) as the same resource? Not with a segment "." or ".." (RFC 3986
// section 5.2.4), also behind an encoded slash or backslash, or encoded itself; not with a backslash, "%00", or a "%"
// that begins no encoding; nor with what cannot be in a path: "?", "#", spaces and control bytes.
bool has_one_reading(std::string_view path);

// The path that rules at an ingress compare and that goes upstream; nullopt: it has several readings, and the request
// is to be refused. Proxies that rewrite such a path (Envoy, unless told not to) have to hope that the server would
// have done the same; browsers and libraries never send one.
//
// Encoded unreserved characters ("%61") mean what they stand for (RFC 3986 section 6.2.2.2) and are decoded. All else
// stays, encoded and double slashes too, as with Istio's default (MeshConfig.pathNormalization BASE). The result is
// `path` itself, or is kept in `scratch`.
std::optional<std::string_view> canonical_path(std::string_view path, std::string& scratch);

}  // namespace sluice
