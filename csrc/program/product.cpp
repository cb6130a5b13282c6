#include "program/product.h"

namespace sparsebp {
namespace {

// Most rows of one unit: enough to use a panel of weights from the first-level cache many times.
constexpr Index kMostRows = 96;

}  // namespace

template <class T>
void gemm_with_panel_bits(const Kernels<T>& kernels, const GemmArgs<T>& args, std::uint8_t* bits, Index pixels,
                          Index first, Index channels, Index c) {
  if (bits == nullptr) return kernels.gemm(args);
  // A last panel that is not whole has shorter rows of bits.
  const Index together = args.cols == kPair ? kPair : kPanel;
  for (Index done = 0; done < args.cols; done += together) {
    GemmArgs<T> part = columns_of(args, done, std::min(together, args.cols - done));
    Affine<T>& affine = part.affine;
    affine.mask_row = panel_mask_row(channels, c + done), affine.mask_panel = panel_mask(pixels, kPanel);
    affine.mask = bits + panel_mask(pixels, done) + first * affine.mask_row;
    kernels.gemm(part);
  }
}

template <class T>
void parallel_gemm(const Kernels<T>& kernels, const GemmArgs<T>& args) {
  const Index runs = div_up(args.rows, kMostRows), run = div_up(args.rows, std::max<Index>(runs, 1));
  const Index width = unit_columns(kernels, args.cols, runs), units = div_up(args.cols, width);
  const Index work = run * width * args.sum.n1 * args.sum.n2 * args.sum.n3;
  parallel_for(runs * units, work, [&](Index unit) {
    const Index row = unit / units * run, col = unit % units * width;
    GemmArgs<T> part = columns_of(args, col, std::min(width, args.cols - col));
    part.rows = std::min(run, args.rows - row);
    part.a += row * args.a_row, part.c += row * args.c_row;
    if (part.affine.residual != nullptr) part.affine.residual += row * args.affine.residual_row;
    if (part.affine.mask != nullptr) part.affine.mask += row * args.affine.mask_row;
    kernels.gemm(part);
  });
}

#define SPARSEBP_INSTANTIATE(T)                                                                                    \
  template void gemm_with_panel_bits<T>(const Kernels<T>&, const GemmArgs<T>&, std::uint8_t*, Index, Index, Index, \
                                        Index);                                                                    \
  template void parallel_gemm<T>(const Kernels<T>&, const GemmArgs<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
