// Mask bits of finished outputs, one an element: 0 < y, and y < 6 for ReLU6. y is clamped, so this is 0 < z < 6.
#pragma once

#include <cstring>

#include "kernels/args.h"
#include "kernels/unrolled.h"

namespace sparsebp {
namespace {

template <class V, bool kCapped>
inline void write_mask_row(const typename V::value* y, Index cols, std::uint8_t* bits) {
  using T = typename V::value;
  Index c = 0;
  for (; c + 8 <= cols; c += 8) *bits++ = V::mask8(y + c, kCapped);
  const int left = static_cast<int>(cols - c);
  if (left <= 0) return;
  unsigned byte = 0;
  for (int i = 0; i < left; ++i) {
    byte |= static_cast<unsigned>(y[c + i] > T(0) && (!kCapped || y[c + i] < T(6))) << i;
  }
  *bits = static_cast<std::uint8_t>(byte);
}

// Of `rows` rows in memory.
template <class V>
inline void write_mask(const typename V::value* y, Index row, Index rows, Index cols, Activation activation,
                       std::uint8_t* bits, Index bits_row) {
  if (activation == Activation::relu6) {
    for (Index r = 0; r < rows; ++r) write_mask_row<V, true>(y + r * row, cols, bits + r * bits_row);
  } else {
    for (Index r = 0; r < rows; ++r) write_mask_row<V, false>(y + r * row, cols, bits + r * bits_row);
  }
}

// The bits of a vector that lies in a register, for the `cols` columns from it on; more of it than exist are zero.
template <class V, bool kFull, bool kCapped>
[[gnu::always_inline]] inline void write_vector_mask(V y, Index cols, std::uint8_t* bits) {
  const auto passes = static_cast<std::uint16_t>(V::passes(y, kCapped));
  if constexpr (V::width == 16) {
    if (kFull || cols > 8) {
      std::memcpy(bits, &passes, 2);
      return;
    }
  }
  if (kFull || cols > 0) *bits = static_cast<std::uint8_t>(passes);
}

template <class V, bool kFull, bool kCapped, int kRows, int kVectors>
[[gnu::always_inline]] inline void write_vector_masks(const V (&acc)[kRows][kVectors], Index cols, std::uint8_t* bits,
                                                      Index bits_row, Index bits_panel) {
  constexpr int kInPanel = static_cast<int>(kPanel) / V::width;
  for_tile<kRows, kVectors>([&](auto r, auto v) __attribute__((always_inline)) {
    constexpr int kPanelOf = v / kInPanel, kByte = v % kInPanel * V::width / 8;
    write_vector_mask<V, kFull, kCapped>(acc[r][v], cols - v * V::width,
                                         bits + r * bits_row + kPanelOf * bits_panel + kByte);
  });
}

// Of a tile that lies in registers and, at `y`, in memory. `bits_panel`: bytes from a panel's bits to the next panel's.
template <class V, bool kFull, int kRows, int kVectors>
[[gnu::always_inline]] inline void write_tile_mask(const V (&acc)[kRows][kVectors], const typename V::value* y,
                                                   Index row, Index cols, Activation activation, std::uint8_t* bits,
                                                   Index bits_row, Index bits_panel) {
  if constexpr (V::width % 8 == 0) {
    if (activation == Activation::relu6) {
      write_vector_masks<V, kFull, true>(acc, cols, bits, bits_row, bits_panel);
    } else {
      write_vector_masks<V, kFull, false>(acc, cols, bits, bits_row, bits_panel);
    }
  } else {
    static_assert(kVectors * V::width <= kPanel);
    write_mask<V>(y, row, kRows, cols, activation, bits, bits_row);
  }
}

}  // namespace
}  // namespace sparsebp
