// Text from files: UTF-8, or refused.
#pragma once

#include <cstddef>

namespace sparsebp {

inline bool is_utf8(const char* text, std::size_t size) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < size;) {
    const unsigned char first = byte(i);
    const std::size_t more = first < 0x80                    ? 0
                             : first >= 0xC2 && first < 0xE0 ? 1
                             : first >= 0xE0 && first < 0xF0 ? 2
                                                             : 3;
    if (more == 3 && (first < 0xF0 || first > 0xF4)) return false;
    if (size - i <= more) return false;
    for (std::size_t j = 1; j <= more; ++j) {
      if ((byte(i + j) & 0xC0) != 0x80) return false;
    }
    // Longer than it need be, half of a pair, or beyond the last code point.
    const unsigned char second = more == 0 ? 0x80 : byte(i + 1);
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return false;
    if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return false;
    i += more + 1;
  }
  return true;
}

}  // namespace sparsebp
