// The one register tile under every dense product: kRows rows of accumulators, a panel wide or two, rows broadcast,
// columns loaded.
//
// acc[r][j] += sum over (k3, k2, k1) of a[r][k] * b[k][j], in that order with one fused multiply-add a term, so an
// element's bits depend on its own sum alone: not on the tile it falls in, its neighbours, or the thread.
// AVX2: 6 x 16 is 12 accumulators, 2 vectors of b and 1 broadcast, 15 of 16 registers; 12 FMA for 8 loads. AVX-512:
// 12 x 32 is 24, 2 and 1 of 32, and 24 FMA for 14 loads; of one vector, 14 x 16, it would wait for its loads.
#pragma once

#include "kernels/columns.h"
#include "kernels/unrolled.h"

namespace sparsebp {
namespace {

constexpr int panel_vectors(int width) { return static_cast<int>(kPanel) / width; }

// Distances in elements; 0 fetches what is read anyway.
struct Ahead {
  Index a = 0, b = 0;
};

// A tile of `kColumns` vectors, a whole panel unless said otherwise.
template <class V, int kColumns = panel_vectors(V::width)>
struct Tile {
  using T = typename V::value;
  static constexpr int kVectors = kColumns;
  static constexpr int kInPanel = panel_vectors(V::width);
  template <bool kFull>
  using TileColumns = Columns<V, kVectors, kFull>;

  // On the way, what the next tile will read is fetched into the cache: what lies `ahead` elements behind each row of
  // b, `kLines` panels of it, and behind a once for each run of n1 terms. Between two panels of a row of b there is a
  // gap of `gap` elements.
  template <int kRows, bool kFull, int kLines = 1>
  [[gnu::always_inline]] static inline void sum(V (&acc)[kRows][kVectors], const T* const (&a)[kRows], const T* b,
                                                const SumLoop& loop, const TileColumns<kFull>& columns,
                                                Ahead ahead = {}, Index gap = 0) {
    for (Index k3 = 0; k3 < loop.n3; ++k3) {
      for (Index k2 = 0; k2 < loop.n2; ++k2) {
        Index at = k3 * loop.a3 + k2 * loop.a2;
        const T* row = b + k3 * loop.b3 + k2 * loop.b2;
        for (int r = 0; r < kRows; ++r) __builtin_prefetch(a[r] + at + ahead.a);
        for (Index k1 = 0; k1 < loop.n1; ++k1, at += loop.a1, row += loop.b1) {
          for (int line = 0; line < kLines; ++line) __builtin_prefetch(row + ahead.b + line * (kPanel + gap));
          V right[kVectors];
          for (int v = 0; v < kVectors; ++v) right[v] = columns.load(row + v / kInPanel * gap, v);
          for (int r = 0; r < kRows; ++r) {
            const auto left = V::broadcast(a[r] + at);
            for (int v = 0; v < kVectors; ++v) acc[r][v] = V::fma(left, right[v], acc[r][v]);
          }
        }
      }
    }
  }

  // The same for rows of a that lie `a_row` elements apart. Of many rows each would want a register for its pointer,
  // and what does not get one is reloaded for every term; here three rows are reached from one pointer.
  template <int kRows, bool kFull, int kLines = 1>
  [[gnu::always_inline]] static inline void sum(V (&acc)[kRows][kVectors], const T* a, Index a_row, const T* b,
                                                const SumLoop& loop, const TileColumns<kFull>& columns,
                                                Ahead ahead = {}, Index gap = 0) {
    if constexpr (kRows <= kFewRows) {
      const T* rows[kRows];
      for (int r = 0; r < kRows; ++r) rows[r] = a + r * a_row;
      sum<kRows, kFull, kLines>(acc, rows, b, loop, columns, ahead, gap);
    } else {
      for (Index k3 = 0; k3 < loop.n3; ++k3) {
        for (Index k2 = 0; k2 < loop.n2; ++k2) {
          const T* first = a + k3 * loop.a3 + k2 * loop.a2;
          for (int r = 0; r < kRows; ++r) __builtin_prefetch(first + r * a_row + ahead.a);
          sum_run<kFull, kLines>(acc, first, a_row, b + k3 * loop.b3 + k2 * loop.b2, loop, columns, ahead.b, gap,
                                 std::make_integer_sequence<int, kRows>());
        }
      }
    }
  }

  template <int kRows>
  [[gnu::always_inline]] static inline void clear(V (&acc)[kRows][kVectors]) {
    for_tile<kRows, kVectors>([&](auto r, auto v) __attribute__((always_inline)) { acc[r][v] = V::set(T(0)); });
  }

  template <int kRows, bool kFull>
  [[gnu::always_inline]] static inline void load_rows(V (&acc)[kRows][kVectors], const T* c, Index c_row,
                                                      const TileColumns<kFull>& columns) {
    for_tile<kRows, kVectors>([&](auto r, auto v)
                                  __attribute__((always_inline)) { acc[r][v] = columns.load(c + r * c_row, v); });
  }

 private:
  // Rows whose pointers fit into the processor's registers beside all else.
#if defined(__x86_64__)
  static constexpr int kFewRows = 8;
#else
  static constexpr int kFewRows = 16;
#endif

  // A run of n1 terms for rows r... = 0, 1, 2, ...
  template <bool kFull, int kLines, int kRows, int... r>
  [[gnu::always_inline]] static inline void sum_run(V (&acc)[kRows][kVectors], const T* a, Index a_row, const T* b,
                                                    const SumLoop& loop, const TileColumns<kFull>& columns, Index ahead,
                                                    Index gap, std::integer_sequence<int, r...>) {
    static_assert(kRows <= 15);
    const T *a0 = a, *a3 = a + 3 * a_row, *a6 = a + 6 * a_row, *a9 = a + 9 * a_row;
    const T* a12 = kRows > 12 ? a + 12 * a_row : a;
    const Index n1 = loop.n1, step = loop.a1, b_step = loop.b1;
    for (Index k1 = 0; k1 < n1; ++k1, b += b_step) {
      for (int line = 0; line < kLines; ++line) __builtin_prefetch(b + ahead + line * (kPanel + gap));
      V right[kVectors];
      for (int v = 0; v < kVectors; ++v) right[v] = columns.load(b + v / kInPanel * gap, v);
      (add_row(acc[r], V::broadcast(of_three<r>(a0, a3, a6, a9, a12) + r % 3 * a_row), right), ...);
      a0 += step, a3 += step, a6 += step, a9 += step, a12 += step;
      asm("" : "+r"(a0), "+r"(a3), "+r"(a6), "+r"(a9), "+r"(a12));  // or each row gets its pointer back
    }
  }

  template <int r>
  static inline const T* of_three(const T* a0, const T* a3, const T* a6, const T* a9, const T* a12) {
    if constexpr (r < 3) return a0;
    if constexpr (r >= 3 && r < 6) return a3;
    if constexpr (r >= 6 && r < 9) return a6;
    if constexpr (r >= 9 && r < 12) return a9;
    if constexpr (r >= 12) return a12;
  }

  [[gnu::always_inline]] static inline void add_row(V (&acc)[kVectors], V left, const V (&right)[kVectors]) {
    for (int v = 0; v < kVectors; ++v) acc[v] = V::fma(left, right[v], acc[v]);
  }
};

template <class V>
inline V activate(V x, Activation activation) {
  using T = typename V::value;
  if (activation == Activation::identity) return x;
  x = V::max(x, V::set(T(0)));
  return activation == Activation::relu6 ? V::min(x, V::set(T(6))) : x;
}

}  // namespace
}  // namespace sparsebp
