// GPUs divide 64-bit numbers slowly: kernels count the pixels of a batch, the channels and taps of a sum, and places in
// a padded image in 32 bits. So sizes here have a limit of their own, below that of core/size_limits.h.
#pragma once

#include <algorithm>

#include "core/size_limits.h"
#include "spec/program_spec.h"

namespace sparsebp::cuda {

// Tiles and slices round up.
constexpr Index kMostCounted = Index{1} << 30;

// Throws InvalidArgument, naming the layer.
inline void check_limits(const LayerSpec& layer, Index batch) {
  const ConvShape s = layer.kind == LayerKind::transposed ? mirrored(layer.shape) : layer.shape;
  const auto few = [&layer](const char* what, Index count) {
    check_size(layer.name + " on a GPU", what, count, 0, kMostCounted);
  };
  few("pixels of a batch", batch * std::max(s.pixels(), s.out_pixels()));
  few("channels", std::max(s.in, s.out));
  few("taps and channels of a window", s.taps() * std::max(s.in_per_group(), s.out_per_group()));
  few("padded height", s.height + 2 * s.pad_h + s.stride_h + s.dilation_h);
  few("padded width", s.width + 2 * s.pad_w + s.stride_w + s.dilation_w);
}

}  // namespace sparsebp::cuda
