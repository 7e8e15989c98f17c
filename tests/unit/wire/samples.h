// First bytes as real programs sent them, shared with the fuzzers as their seeds.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "tests/support/hello_builder.h"

namespace sluice::test {

// A file of tests/fuzz/corpus, "client_hello/curl_h2".
inline Bytes sample(const std::string& name) {
  const auto path = std::filesystem::path(SLUICE_SOURCE_DIR) / "tests/fuzz/corpus" / name;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("no sample " + path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace sluice::test
