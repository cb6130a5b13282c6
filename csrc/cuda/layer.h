// What several ops do with a layer.
#pragma once

#include "cuda/columns.cuh"
#include "cuda/depthwise_weight.cuh"
#include "cuda/elementwise.cuh"
#include "cuda/gemm.cuh"
#include "cuda/ops.h"
#include "cuda/weight_rows.cuh"

namespace sparsebp::cuda {

using Layer = sparsebp::Layer<float>;
using OutputGrad = sparsebp::OutputGrad<float>;

// The layer `index` of a program, where it runs.
struct LayerRun {
  const Driver& driver;
  Layer& layer;
  int index;
  Index images;
  bool bare = false;  // forward: without its activation

  const ConvShape& shape() const { return layer.spec.shape; }
  Activation activation() const { return bare ? Activation::identity : layer.spec.activation; }
  // The selected channels side by side.
  Slice slice(const float* data) const { return {data, layer.spec.selected, -1}; }
  bool transposed() const { return layer.spec.kind == LayerKind::transposed; }

  // Copies the selected channels of x ([pixels][x_pixel]) to `saved`.
  void save(const float* x, Index x_pixel, Index pixels, float* saved) const;

  // The norm's scale and shift of all channels; either may be null.
  void fold(float* scale, float* shift) const;

  // Output channels [first, first + count) of y = activation(scale * (W * x) + shift) + residual for `rows` pixels of a
  // layer with groups of all its channels; the mask's row of the first pixel is `mask_row`.
  void forward(const float* x, float* y, Index rows, const Mask& mask, Index mask_row = 0,
               const float* residual = nullptr) const;
  void forward_columns(const float* x, float* y, Index y_row, Index first, Index count, Index rows, const Mask& mask,
                       Index mask_row = 0, const float* residual = nullptr) const;

  // The same as `forward` for a depthwise layer: `images` whole images.
  void forward_depthwise(const float* x, float* y, Index image_count, const Mask& mask, Index mask_row = 0) const;
  // Channels [first, first + count) of it; column 0 of x and y is `first`.
  void forward_depthwise_columns(const float* x, Index x_row, float* y, Index y_row, Index first, Index count,
                                 Index image_count, const Mask& mask = {}, Index mask_row = 0) const;
  // dx (+)= of channels [first, first + count); column 0 of dz and dx is `first`. `gate`: of dx, what does not pass
  // becomes zero.
  void input_grad_depthwise(const float* dz, Index dz_row, float* dx, Index dx_row, Index first, Index count,
                            bool accumulate, const Mask& gate = {}) const;

  // g *= mask; trains bias and shift from what is left; writes the batch norm's scale to `scale` unless it is null.
  void pass_back(float* g, Index g_row, Index begin, Index count, Index rows, const Mask& mask, float* scale,
                 const PartialSums& partial) const;
  // The same for a launch that does it for two layers; without columns if there is nothing to do.
  ColumnArgs column_args(float* g, Index g_row, Index begin, Index count, Index rows, const Mask& mask,
                         float* scale) const;

  // dx (+)= W^T (scale * dz) of `count` input channels from `first` on. `gate`, of a pointwise layer only: of dx, what
  // does not pass becomes zero.
  void input_grad(const OutputGrad& grad, float* dx, Index dx_row, Index first, Index count, bool accumulate,
                  const Mask& gate = {}) const;

  // Trains the selected ones of input channels [begin, end). `spare`: nobody needs grad.dz any more, it may be written
  // over.
  void train_weight(const OutputGrad& grad, const Slice& saved, Index begin, Index end, const PartialSums& partial,
                    bool spare = false) const;

  // The same for a depthwise layer; grad is before the batch norm's scale, which is found here.
  void train_depthwise(const OutputGrad& grad, const Slice& saved) const;

  // Any activation, which the kernels of layers need not know: `columns` numbers of each row, which lie `row` apart.
  // From x to y, which may be x; and from the gradient behind it to that in front of it, where it was `before`.
  void activate(const float* x, float* y, Index row, Index rows, Index columns) const;
  void activate_back(const float* before, float* g, Index row, Index rows, Index columns) const;
};

}  // namespace sparsebp::cuda
