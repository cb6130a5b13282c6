// libFuzzer's command line in small, for compilers without it: files and folders of files to run, and then bytes at
// random for -max_total_time=SECONDS.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/random.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

void run(const Bytes& bytes) { LLVMFuzzerTestOneInput(bytes.data(), bytes.size()); }

void run_files(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) run_files(entry.path());
    return;
  }
  std::ifstream file(path, std::ios::binary);
  run(Bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
}

Bytes random_bytes(std::uint64_t seed) {
  Bytes bytes(64 + sparsebp::random_below(seed, 0, 448));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(sparsebp::random_below(seed, i + 1, 256));
  }
  return bytes;
}

// Bytes under way, for whoever looks into a crash.
void keep(const std::filesystem::path& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// What follows `option` in `word`, or null.
const char* value_of(const char* word, const char* option) {
  const std::size_t length = std::strlen(option);
  return std::strncmp(word, option, length) == 0 ? word + length : nullptr;
}

}  // namespace

int main(int count, char** words) {
  long seconds = 0;
  std::string prefix;
  for (int i = 1; i < count; ++i) {
    if (const char* time = value_of(words[i], "-max_total_time=")) seconds = std::atol(time);
    if (const char* place = value_of(words[i], "-artifact_prefix=")) prefix = place;
    if (words[i][0] != '-') run_files(words[i]);
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::uint64_t runs = 0;
  while (std::chrono::steady_clock::now() < end) {
    const Bytes bytes = random_bytes(sparsebp::mix64(++runs));
    keep(prefix + "crash-last", bytes);
    run(bytes);
  }
  std::filesystem::remove(prefix + "crash-last");
  std::printf("%llu runs at random without a finding\n", static_cast<unsigned long long>(runs));
}
