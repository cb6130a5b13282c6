// Matrix products: every convolution forward but the depthwise ones, and every input gradient.
//
// C (rows x cols) from A (rows x depth) and B (depth x cols). A block computes a tile of C; its threads are teams, each
// of which takes every so manieth chunk of the depth, and their sums are added in one order. So a product with few rows
// and columns but a long sum still has work for many threads. The next chunk is on its way while one is multiplied.
#pragma once

#include "cuda/gemm_loads.cuh"

namespace sparsebp::cuda {

constexpr int kDepth = 16;   // of a chunk
constexpr int kOwnCols = 8;  // of a thread: a byte of a mask

// A block's tile of C, how many of its rows a thread has, and how many blocks a processor of the device is to hold.
template <int kRows_, int kCols_, int kOwnRows_, int kTeams_, int kBlocks_>
struct Tile {
  static constexpr int kRows = kRows_, kCols = kCols_, kOwnRows = kOwnRows_, kTeams = kTeams_, kBlocks = kBlocks_;
  static constexpr int kAcross = kCols / kOwnCols, kTeam = kRows / kOwnRows * kAcross, kThreads = kTeam * kTeams;
  static constexpr int kSums = kOwnRows * kOwnCols;
  // Rows of a chunk in shared memory; those of A are four floats longer, so that storing them meets fewer banks twice.
  static constexpr int kRowA = kRows + 4, kChunkA = kDepth * kRowA, kChunk = kChunkA + kDepth * kCols;
  static constexpr int kParts = (kTeams - 1) * kTeam * kSums;
  static constexpr int kShared = kTeams * kChunk > kParts ? kTeams* kChunk : kParts;

  static unsigned count(const GemmArgs& args) { return blocks(args.rows, kRows) * blocks(args.cols, kCols); }
};

// Four floats of shared memory.
__device__ inline void read_four(const float* from, float* to) {
  const float4 found = *reinterpret_cast<const float4*>(from);
  to[0] = found.x, to[1] = found.y, to[2] = found.z, to[3] = found.w;
}

// The end of a row's eight neighbouring columns, from column n on.
struct End {
  float scale[kOwnCols], shift[kOwnCols];

  // Of the tile's columns they lie in shared memory, from where these eight begin.
  __device__ End(const float* scales, const float* shifts) {
    SPARSEBP_UNROLL
    for (int i = 0; i < kOwnCols; i += 4) read_four(scales + i, scale + i), read_four(shifts + i, shift + i);
  }

  template <bool kFours>
  __device__ void write(const GemmArgs& args, int m, int n, const float* sums) const {
    float* c = args.c + m * args.c_row + n;
    const float* residual = args.residual != nullptr ? args.residual + m * args.residual_row + n : nullptr;
    constexpr int kStep = kFours ? 4 : 1;
    const unsigned open = args.gate.data != nullptr ? *args.gate.byte(m, args.gate_channel + n) : ~0u;
    unsigned bits = 0;
    SPARSEBP_UNROLL
    for (int first = 0; first < kOwnCols; first += kStep) {
      if (n + first >= args.cols) continue;
      float y[kStep], more[kStep];
      SPARSEBP_UNROLL
      for (int i = 0; i < kStep; ++i) y[i] = (open >> (first + i) & 1) != 0 ? sums[first + i] : 0.0f;
      if (args.accumulate) {
        load<kStep>(c + first, more);
        SPARSEBP_UNROLL
        for (int i = 0; i < kStep; ++i) y[i] += more[i];
      }
      if (args.affine) {
        SPARSEBP_UNROLL
        for (int i = 0; i < kStep; ++i) {
          y[i] = activate(fmaf(scale[first + i], y[i], shift[first + i]), args.activation);
          bits |= static_cast<unsigned>(passes(y[i], args.activation)) << (first + i);
        }
      }
      if (residual != nullptr) {
        load<kStep>(residual + first, more);
        SPARSEBP_UNROLL
        for (int i = 0; i < kStep; ++i) y[i] += more[i];
      }
      if constexpr (kFours) {
        *reinterpret_cast<float4*>(c + first) = float4{y[0], y[1], y[2], y[3]};
      } else {
        c[first] = y[0];
      }
    }
    if (args.mask.data != nullptr) {
      *args.mask.byte(args.mask_row + m, args.channel + n) = static_cast<std::uint8_t>(bits);
    }
  }
};

// Where column n of a chunk of B lies: the two halves of a thread's eight columns are apart, so that neighbouring
// threads read neighbouring fours.
template <int kCols>
__device__ constexpr int place_of(int n) {
  return n / 4 % 2 * (kCols / 2) + n / 8 * 4 + n % 4;
}

template <Product kProduct, class T, bool kFours>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks) gemm(GemmArgs args) {
  await_inputs();
  constexpr int kUnit = kFours ? 4 : 1;
  constexpr bool kTurned = runs_along_depth(kProduct);
  constexpr int kUnitsA = T::kRows * kDepth / kUnit / T::kTeam, kUnitsB = T::kCols * kDepth / kUnit / T::kTeam;
  constexpr int kDeep = kDepth / kUnit, kWide = T::kCols / kUnit;
  static_assert(kUnitsA * kUnit * T::kTeam == T::kRows * kDepth && kUnitsB * kUnit * T::kTeam == T::kCols * kDepth);
  static_assert(T::kTeam % kDeep == 0, "a thread reads the same columns of all its rows of A");
  alignas(16) __shared__ float shared[T::kShared];
  alignas(16) __shared__ float scales[T::kCols], shifts[T::kCols];
  const int team = static_cast<int>(threadIdx.x) / T::kTeam, thread = static_cast<int>(threadIdx.x) % T::kTeam;
  float* a = shared + team * T::kChunk;
  float* b = a + T::kChunkA;
  // One dimension: the others take 65,535 blocks at most.
  const int wide = (args.cols + T::kCols - 1) / T::kCols, tile = static_cast<int>(blockIdx.x);
  const int row = tile / wide * T::kRows, col = tile % wide * T::kCols;
  const int own_row = thread / T::kAcross * T::kOwnRows, own_col = thread % T::kAcross * kOwnCols;

  const int k_a = thread % kDeep * kUnit;
  const RowsOfA<kProduct, kUnitsA, T::kTeam / kDeep> rows(args, row + thread / kDeep);
  float next_a[kUnitsA][kUnit], next_b[kUnitsB][kUnit], scale_a[kUnit] = {};
  struct Place {
    int k, n;
  };
  const auto place_b = [&](int u) -> Place {
    const int i = thread + u * T::kTeam;
    return kTurned ? Place{i % kDeep * kUnit, i / kDeep} : Place{i / kWide, i % kWide * kUnit};
  };
  const auto fetch = [&](int first) {
    SPARSEBP_UNROLL
    for (int u = 0; u < kUnitsA; ++u) load<kUnit>(rows.at(args, u, first + k_a), next_a[u]);
    if (args.a_scale != nullptr) load_scales<kProduct, kUnit>(args, first + k_a, scale_a);
    SPARSEBP_UNROLL
    for (int u = 0; u < kUnitsB; ++u) {
      const Place at = place_b(u);
      load_b<kProduct, kUnit>(args, first + at.k, col + at.n, next_b[u]);
    }
  };
  const auto store = [&] {
    if (args.a_scale != nullptr) {
      SPARSEBP_UNROLL
      for (int u = 0; u < kUnitsA; ++u) {
        SPARSEBP_UNROLL
        for (int i = 0; i < kUnit; ++i) next_a[u][i] *= scale_a[i];
      }
    }
    SPARSEBP_UNROLL
    for (int u = 0; u < kUnitsA; ++u) {
      SPARSEBP_UNROLL
      for (int i = 0; i < kUnit; ++i) a[(k_a + i) * T::kRowA + (thread + u * T::kTeam) / kDeep] = next_a[u][i];
    }
    SPARSEBP_UNROLL
    for (int u = 0; u < kUnitsB; ++u) {
      const Place at = place_b(u);
      SPARSEBP_UNROLL
      for (int j = 0; j < kUnit; ++j) {
        b[(kTurned ? at.k + j : at.k) * T::kCols + place_of<T::kCols>(kTurned ? at.n : at.n + j)] = next_b[u][j];
      }
    }
  };

  float sums[T::kSums] = {};
  fetch(team * kDepth);
  for (int i = static_cast<int>(threadIdx.x); i < T::kCols && args.affine; i += T::kThreads) {
    const bool inside = col + i < args.cols;
    args.norm.fold<1, true>(args.channel + col + i, inside ? 1 : 0, scales + i, shifts + i);
  }
  for (int begin = 0; begin < args.depth; begin += T::kTeams * kDepth) {
    store();
    __syncthreads();
    if (begin + T::kTeams * kDepth < args.depth) fetch(begin + (T::kTeams + team) * kDepth);
    SPARSEBP_UNROLL_SOME
    for (int k = 0; k < kDepth; ++k) {
      float own_a[T::kOwnRows], own_b[kOwnCols];
      const float *row_a = a + k * T::kRowA + own_row, *row_b = b + k * T::kCols + own_col / 2;
      if constexpr (T::kOwnRows % 4 == 0) {
        SPARSEBP_UNROLL
        for (int r = 0; r < T::kOwnRows; r += 4) read_four(row_a + r, own_a + r);
      } else {
        SPARSEBP_UNROLL
        for (int r = 0; r < T::kOwnRows; ++r) own_a[r] = row_a[r];
      }
      read_four(row_b, own_b), read_four(row_b + T::kCols / 2, own_b + 4);
      SPARSEBP_UNROLL
      for (int r = 0; r < T::kOwnRows; ++r) {
        SPARSEBP_UNROLL
        for (int i = 0; i < kOwnCols; ++i) sums[r * kOwnCols + i] = fmaf(own_a[r], own_b[i], sums[r * kOwnCols + i]);
      }
    }
    __syncthreads();
  }

  if constexpr (T::kTeams > 1) {
    SPARSEBP_UNROLL
    for (int i = 0; i < T::kSums; ++i) {
      if (team > 0) shared[((team - 1) * T::kSums + i) * T::kTeam + thread] = sums[i];
    }
    __syncthreads();
    if (team > 0) return;
    for (int other = 0; other < T::kTeams - 1; ++other) {
      SPARSEBP_UNROLL
      for (int i = 0; i < T::kSums; ++i) sums[i] += shared[(other * T::kSums + i) * T::kTeam + thread];
    }
  }
  if (col + own_col >= args.cols) return;
  const End end(scales + own_col, shifts + own_col);
  SPARSEBP_UNROLL
  for (int r = 0; r < T::kOwnRows; ++r) {
    if (row + own_row + r >= args.rows) continue;
    end.template write<kFours>(args, row + own_row + r, col + own_col, sums + r * kOwnCols);
  }
}

template <Product kProduct, class T, bool kFours>
void start_gemm(const Queue& queue, const GemmArgs& args) {
  launch(queue, &gemm<kProduct, T, kFours>, dim3(T::count(args)), T::kThreads, args);
}

// The widest tile of which there are enough for the processors of the device.
template <Product kProduct>
void multiply(const Queue& queue, const GemmArgs& args) {
  if (args.rows == 0 || args.cols == 0) return;
  using Wide = Tile<128, 64, 8, 1, 3>;
  using Narrow = Tile<128, 32, 4, 1, 4>;
  using Middle = Tile<64, 32, 4, 4, 2>;
  using Single = Tile<64, 32, 2, 1, 4>;  // for loads of single floats
  using Small = Tile<16, 32, 1, 8, 2>;
  constexpr bool kRows = kProduct == Product::rows || kProduct == Product::rows_back;
  const auto enough = [&](unsigned tiles) { return tiles >= static_cast<unsigned>(queue.processors); };
  if (!loads_fours<kProduct>(args)) {
    if (enough(Single::count(args))) return start_gemm<kProduct, Single, false>(queue, args);
    return start_gemm<kProduct, Small, false>(queue, args);
  }
  if constexpr (kRows) {
    // Columns that a tile has and C has not cost as much as the others; a narrow tile's cost an eighth more.
    const bool narrow = 9 * blocks(args.cols, Narrow::kCols) < 16 * blocks(args.cols, Wide::kCols);
    if (!narrow && enough(Wide::count(args))) return start_gemm<kProduct, Wide, true>(queue, args);
  }
  if (enough(Narrow::count(args))) return start_gemm<kProduct, Narrow, true>(queue, args);
  if constexpr (kRows) {
    if (enough(2 * Middle::count(args))) return start_gemm<kProduct, Middle, true>(queue, args);
  }
  start_gemm<kProduct, Small, true>(queue, args);
}

}  // namespace sparsebp::cuda
