// Which versions of which kinds an API server serves.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::kube {

// Of GET /apis/GROUP (APIGroup): the versions it is served in.
Result<std::vector<std::string>> parse_group(std::string_view json);

// Of GET /apis/GROUP/VERSION (APIResourceList): the resources that can be listed and watched, "serviceentries" by their
// kind, "ServiceEntry".
using Resources = std::map<std::string, std::string>;
Result<Resources> parse_resources(std::string_view json);

// The most stable version first: v1, v1beta1, v1alpha3; later ones of a kind first.
bool is_more_stable(std::string_view a, std::string_view b);

}  // namespace sluice::kube
