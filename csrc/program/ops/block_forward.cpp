// Forward, strip by strip. Within a strip, units of kPanel expanded channels are expanded and filtered independently;
// then all of them are projected.
#include <algorithm>

#include "platform/parallel.h"
#include "program/convolution.h"
#include "program/ops/block.h"

namespace sparsebp {
template <class T>
void Block<T>::forward(Context<T>& context) {
  const Kernels<T>& kernels = *context.kernels;
  const Layer<T>&expand = layer(context, expand_), &dw = layer(context, depthwise_);
  const Layer<T>& project = layer(context, project_);
  const Index n = context.images;
  Pass pass{};
  pass.x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
  T* y = context.values[static_cast<std::size_t>(this->spec.output)];

  T* fold = context.workspace.template acquire<T>(fold_, 2 * (2 * wide_ + out_));
  T *expand_fold = fold, *dw_fold = fold + 2 * wide_, *project_fold = fold + 4 * wide_;
  if (!expands_) std::fill_n(expand_fold, 2 * wide_, T(0));
  project.fold(kernels, 0, out_, project_fold, project_fold + out_);
  pass.expand_fold = expand_fold, pass.depthwise_fold = dw_fold, pass.project_fold = project_fold;
  pass.filtered = context.workspace.template acquire<T>(filtered_, strips_.out_pixels(n) * wide_);
  if (expands_) pass.expanded = context.workspace.template acquire<T>(expanded_, strips_.held_pixels(n) * wide_);
  if (context.save) pass.saved = acquire_saved(context);
  if (pass.saved.expand != nullptr) expand.save(kernels, pass.x, in_, n * in_rows_, 0, in_, pass.saved.expand);

  const ConvShape& s = dw.spec.shape;
  for (Index i = 0; i < strips_.count(n); ++i) {
    pass.strip = strips_.at(i, n), pass.first = i == 0;
    const Index images = pass.strip.images, filtered = (pass.strip.out.end - pass.strip.out.begin) * s.out_width;
    const Index expanded = expands_ ? (pass.strip.held.end - pass.strip.held.begin - pass.strip.old) * s.width : 0;
    parallel_for(div_up(wide_, kPanel), images * kPanel * (expanded * in_ + filtered * s.taps()), [&](Index unit) {
      forward_columns(context, pass, unit * kPanel, std::min(kPanel, wide_ - unit * kPanel));
    });
    project_strip(context, pass, y);
  }
}

// Expands and filters `count` <= kPanel channels from `c` on, and keeps what backward needs of them.
template <class T>
void Block<T>::forward_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const {
  const Kernels<T>& kernels = *context.kernels;
  const Layer<T>&dw = layer(context, depthwise_), &project = layer(context, project_);
  const Strip& strip = pass.strip;
  const ConvShape& s = dw.spec.shape;
  if (pass.first) {
    dw.fold(kernels, c, count, pass.depthwise_fold + c, pass.depthwise_fold + wide_ + c);
    if (expands_) {
      layer(context, expand_).fold(kernels, c, count, pass.expand_fold + c, pass.expand_fold + wide_ + c);
    }
  }
  if (expands_) expand_columns(context, pass, c, count);
  if (pass.saved.depthwise != nullptr) {
    const Index held = (strip.held.end - strip.held.begin) * s.width, old = strip.old * s.width;
    const Index first = strip.first_image * in_rows_ + strip.held.begin * s.width + old;
    const T* wide = expands_ ? pass.expanded + old * wide_ : pass.x + first * wide_;
    const Index pixels = strip.images > 1 ? strip.images * in_rows_ : held - old;
    dw.save(kernels, wide + c, wide_, pixels, c, count, pass.saved.depthwise + first * dw.spec.selected);
  }
  filter_columns(context, pass, c, count);
  if (pass.saved.project != nullptr) {
    const Index first = strip.first_image * out_rows_ + strip.out.begin * s.out_width;
    const Index pixels = strip.images * (strip.out.end - strip.out.begin) * s.out_width;
    project.save(kernels, pass.filtered + c, wide_, pixels, c, count,
                 pass.saved.project + first * project.spec.selected);
  }
}

// Moves the rows that the strip before has expanded already to the front, and expands the new ones behind them.
template <class T>
void Block<T>::expand_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const {
  const Layer<T>& expand = layer(context, expand_);
  const Strip& strip = pass.strip;
  const Index width = layer(context, depthwise_).spec.shape.width;
  const Index held = (strip.held.end - strip.held.begin) * width, old = strip.old * width;
  T* out = pass.expanded + c;
  const T* kept = out + strip.shift * width * wide_;
  for (Index pixel = 0; pixel < old; ++pixel) std::copy_n(kept + pixel * wide_, count, out + pixel * wide_);
  const Index first = strip.first_image * in_rows_ + strip.held.begin * width + old;
  GemmArgs<T> args{};
  args.a = pass.x + first * in_, args.a_row = in_;
  args.b = expand.params.weight + c;
  args.c = out + old * wide_, args.c_row = wide_;
  args.rows = strip.images > 1 ? strip.images * in_rows_ : held - old, args.cols = count;
  args.sum.n1 = in_, args.sum.b1 = wide_;
  args.store = Store::affine;
  args.affine.scale = expand.spec.has_norm ? pass.expand_fold + c : nullptr;
  args.affine.shift = pass.expand_fold + wide_ + c;
  args.affine.activation = expand.spec.activation;
  if (pass.saved.expand_mask != nullptr) {
    args.affine.mask_row = panel_mask_row(wide_, c);
    args.affine.mask = pass.saved.expand_mask + panel_mask(context.images * in_rows_, c) + first * args.affine.mask_row;
  }
  context.kernels->gemm(args);
}

template <class T>
void Block<T>::filter_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const {
  const Layer<T>& dw = layer(context, depthwise_);
  const Strip& strip = pass.strip;
  DepthwiseArgs<T> args{};
  args.shape = dw.spec.shape;
  args.x_pixel = wide_, args.y_pixel = wide_;
  args.x_begin = expands_ ? strip.held.begin : 0, args.y_begin = strip.out.begin;
  args.weight = dw.params.weight + c, args.weight_row = wide_;
  args.channels = count, args.row_begin = strip.out.begin, args.row_end = strip.out.end;
  args.affine.scale = dw.spec.has_norm ? pass.depthwise_fold + c : nullptr;
  args.affine.shift = pass.depthwise_fold + wide_ + c;
  args.affine.activation = dw.spec.activation;
  args.affine.mask_row = panel_mask_row(wide_, c);
  for (Index i = 0; i < strip.images; ++i) {
    const Index image = strip.first_image + i;
    args.x = expands_ ? pass.expanded + c + i * in_rows_ * wide_ : pass.x + c + image * in_rows_ * wide_;
    args.y = pass.filtered + c + i * out_rows_ * wide_;
    if (pass.saved.depthwise_mask != nullptr) {
      args.affine.mask = pass.saved.depthwise_mask + panel_mask(context.images * out_rows_, c) +
                         image * out_rows_ * args.affine.mask_row;
    }
    context.kernels->depthwise_forward(args);
  }
}

template <class T>
void Block<T>::project_strip(const Context<T>& context, const Pass& pass, T* y) const {
  const Layer<T>& project = layer(context, project_);
  const Strip& strip = pass.strip;
  const Index width = layer(context, depthwise_).spec.shape.out_width;
  const Index first = strip.first_image * out_rows_ + strip.out.begin * width;
  GemmArgs<T> args{};
  args.a = pass.filtered, args.a_row = wide_;
  args.b = project.params.weight;
  args.c = y + first * out_, args.c_row = out_;
  args.rows = strip.images * (strip.out.end - strip.out.begin) * width, args.cols = out_;
  args.sum.n1 = wide_, args.sum.b1 = out_;
  args.store = Store::affine;
  args.affine.scale = project.spec.has_norm ? pass.project_fold : nullptr;
  args.affine.shift = pass.project_fold + out_;
  if (this->spec.residual) args.affine.residual = pass.x + first * in_, args.affine.residual_row = in_;
  parallel_gemm(*context.kernels, args);
}

template void Block<float>::forward(Context<float>&);
template void Block<double>::forward(Context<double>&);

}  // namespace sparsebp
