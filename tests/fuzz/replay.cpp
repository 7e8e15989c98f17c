// Runs one fuzz target over every file of a corpus directory. An empty or missing corpus is a failure.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "tests/fuzz/fuzz.h"

int main(int argc, char** argv) {
  std::error_code error;
  const std::filesystem::directory_iterator corpus(argc == 2 ? argv[1] : "", error);
  if (error) {
    std::fprintf(stderr, "usage: replay_TARGET CORPUS_DIRECTORY: %s\n", error.message().c_str());
    return 2;
  }
  std::size_t count = 0;
  for (const auto& entry : corpus) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    std::printf("%s: %zu bytes\n", entry.path().filename().c_str(), bytes.size());
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    ++count;
  }
  return count > 0 ? 0 : 1;
}
