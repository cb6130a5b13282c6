// SHA-256 (FIPS 180-4): what a file is called by its contents. `sha256sum FILE` says the same.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace sparsebp {

class Sha256 {
 public:
  void add(const void* data, std::size_t size);
  // 64 hexadecimal digits of everything added. Call it once.
  std::string hex();

 private:
  void block(const unsigned char* data);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> pending_{};  // bytes that fill no block yet
  std::uint64_t size_ = 0;
};

std::string sha256(const void* data, std::size_t size);

}  // namespace sparsebp
