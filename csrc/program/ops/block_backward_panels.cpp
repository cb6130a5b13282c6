// The gradients of one panel of channels: through the activation behind the depthwise convolution, through that, and
// through the activation before it. What a step makes of them. Image by image, so that threads may share these: the
// sums of each image are added in the images' order whoever made them.
#include <algorithm>

#include "program/ops/block.h"

namespace sparsebp {

template <class T>
typename Block<T>::WidePlace Block<T>::wide_place(const Scratch& scratch, const Target& target, Index c,
                                                  Index column) const {
  if (!wide_grad_) return {};
  if (expands_) return {scratch.d_expanded + column, scratch.columns, false};
  return {target.grad + c, in_, target.accumulate};
}

template <class T>
typename Block<T>::PanelGrad Block<T>::panel_grad(const Context<T>& context, Index c, Index count, T* filtered,
                                                  Index filtered_row, const WidePlace& wide) const {
  PanelGrad grad{c, count, filtered, filtered_row, wide, {}};
  layer(context, depthwise_).fold(*context.kernels, c, count, grad.scale, nullptr);
  return grad;
}

template <class T>
void Block<T>::pass_panel(const Context<T>& context, const Remains& saved, const PanelGrad& grad, Range images,
                          PanelSums& sums) const {
  const Layer<T>& dw = layer(context, depthwise_);
  const Index n = context.images, count = images.end - images.begin;
  const auto pass_mask = [&](const std::uint8_t* mask, Index rows, T* g, Index g_row, T* sum) {
    MaskArgs<T> args{};
    args.g = g, args.g_row = g_row;
    args.mask_row = panel_mask_row(wide_, grad.c);
    if (mask != nullptr) {
      args.mask = mask + panel_mask(n * rows, grad.c - saved.first) + images.begin * rows * args.mask_row;
    }
    args.rows = count * rows, args.runs = count, args.cols = grad.count, args.sum = sum;
    context.kernels->mask(args);
  };
  T* filtered = grad.filtered + images.begin * out_rows_ * grad.filtered_row;
  pass_mask(saved.depthwise_mask, out_rows_, filtered, grad.filtered_row, sums.filtered);
  const WidePlace& wide = grad.wide;
  if (wide.data == nullptr) return;

  T* d_wide = wide.data + images.begin * in_rows_ * wide.row;
  DepthwiseArgs<T> args{};
  args.shape = dw.spec.shape;
  args.x_pixel = grad.filtered_row, args.y_pixel = wide.row;
  args.weight = dw.params.weight + grad.c, args.weight_row = wide_;
  args.channels = grad.count, args.row_begin = 0, args.row_end = args.shape.height;
  args.accumulate = wide.accumulate;
  args.affine.scale = dw.spec.has_norm ? grad.scale : nullptr;
  for (Index i = 0; i < count; ++i) {
    args.x = filtered + i * out_rows_ * grad.filtered_row, args.y = d_wide + i * in_rows_ * wide.row;
    context.kernels->depthwise_input_grad(args);
  }
  if (expands_) pass_mask(saved.expand_mask, in_rows_, d_wide, wide.row, sums.expanded);
}

template <class T>
void Block<T>::train_panel(Context<T>& context, const Scratch& scratch, const Remains& saved, const PanelGrad& grad,
                           Index column, const PanelSums& sums) {
  const Kernels<T>& kernels = *context.kernels;
  Layer<T>&expand = layer(context, expand_), &dw = layer(context, depthwise_);
  const T* scale = dw.spec.has_norm ? grad.scale : nullptr;
  dw.update_depthwise(kernels, context.images, {grad.filtered, grad.filtered_row, grad.c, grad.count, scale},
                      saved.depthwise.data != nullptr ? saved.depthwise : saved.input);
  dw.update_shift(kernels, grad.c, grad.count, sums.filtered, scale);
  if (!expands_ || !wide_grad_) return;

  T* expand_scale = scratch.expand_scale + column;
  expand.fold(kernels, grad.c, grad.count, expand_scale, nullptr);
  expand.update_shift(kernels, grad.c, grad.count, sums.expanded, expand.spec.has_norm ? expand_scale : nullptr);
}

#define SPARSEBP_INSTANTIATE(T)                                                                                     \
  template typename Block<T>::PanelGrad Block<T>::panel_grad(const Context<T>&, Index, Index, T*, Index,            \
                                                             const WidePlace&) const;                               \
  template typename Block<T>::WidePlace Block<T>::wide_place(const Scratch&, const Target&, Index, Index) const;    \
  template void Block<T>::pass_panel(const Context<T>&, const Remains&, const PanelGrad&, Range, PanelSums&) const; \
  template void Block<T>::train_panel(Context<T>&, const Scratch&, const Remains&, const PanelGrad&, Index,         \
                                      const PanelSums&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
