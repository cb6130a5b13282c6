// plan_seeds FOLDER: writes small plan files, with which the fuzzer of plan files begins.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/random.h"
#include "plan_bytes.h"

int main(int count, char** words) {
  if (count != 2) return 2;
  std::filesystem::create_directories(words[1]);
  for (std::uint64_t seed = 0, written = 0; written < 100 && seed < 100'000; ++seed) {
    std::vector<std::uint8_t> choices(256);
    for (std::size_t i = 0; i < choices.size(); ++i) {
      choices[i] = static_cast<std::uint8_t>(sparsebp::random_below(seed, i, 256));
    }
    fuzz::Choices made(choices.data(), choices.size());
    const auto bytes = fuzz::make_plan_bytes(made);
    if (bytes.empty() || bytes.size() > 16384) continue;
    std::ofstream file(std::filesystem::path(words[1]) / std::to_string(written++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
}
