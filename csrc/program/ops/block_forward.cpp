// Forward, strip by strip, each in blocks of channels. Within a block, a panel or two of expanded channels are expanded
// and filtered independently; then all of them are projected. The sum over the blocks goes on where the one before
// ended, so that its bits do not depend on how wide they are. See block_lanes.cpp for more than one thread.
#include <algorithm>

#include "program/convolution.h"
#include "program/ops/block.h"

namespace sparsebp {
namespace {

template <class T>
Slice<T> from_pixel(const Slice<T>& slice, Index pixel) {
  return {slice.data + pixel * slice.pixel, slice.pixel, slice.first};
}

}  // namespace

template <class T>
void Block<T>::forward(Context<T>& context) {
  const Layer<T>& expand = layer(context, expand_);
  const Index n = context.images;
  Pass pass = begin_forward(context, strips_.held_pixels(n), strips_.out_pixels(n));
  pass.x = {context.values[static_cast<std::size_t>(this->spec.inputs[0])], 0};
  pass.y = {context.values[static_cast<std::size_t>(this->spec.output)], 0};
  if (context.save && recomputes()) keep_input(context, pass.x.data);
  if (context.save && !recomputes()) {
    acquire_saved(context);
    pass.saved = saved_remains(context);
  }
  if (pass.saved.input.data != nullptr) {
    expand.save(*context.kernels, pass.x.data, in_, n * in_rows_, 0, in_, pass.saved.input);
  }
  if (const Lanes lanes = this->lanes(context); lanes.count > 1) return forward_in_lanes(context, pass, lanes);
  for (Index i = 0; i < strips_.count(n); ++i) {
    pass.strip = strips_.at(i, n), pass.folded = i > 0 && forward_block_ == wide_;
    forward_strip(context, pass);
  }
}

template <class T>
void Block<T>::forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) {
  const ConvShape& s = layer(context, depthwise_).spec.shape;
  const Range held = reached_rows(s, out);
  Pass pass = begin_forward(context, (held.end - held.begin) * s.width, (out.end - out.begin) * s.out_width);
  pass.x = x, pass.y = y, pass.strip = {0, 1, out, held, 0, 0};
  forward_strip(context, pass);
  for (int buffer : {fold_, expanded_, filtered_}) {
    if (buffer >= 0) context.workspace->release(buffer);
  }
}

template <class T>
typename Block<T>::Pass Block<T>::begin_forward(Context<T>& context, Index held_pixels, Index out_pixels) const {
  const Layer<T>& project = layer(context, project_);
  Pass pass{};
  pass.columns = forward_block_;
  T* fold = context.workspace->template acquire<T>(fold_, 2 * (2 * forward_block_ + out_));
  pass.expand_fold = fold, pass.depthwise_fold = fold + 2 * forward_block_;
  T* project_fold = fold + 4 * forward_block_;
  if (!expands_) std::fill_n(pass.expand_fold, 2 * forward_block_, T(0));
  project.fold(*context.kernels, 0, out_, project_fold, project_fold + out_);
  pass.project_fold = project_fold;
  const StripBuffers strips = acquire_strips(context, held_pixels, out_pixels);
  pass.expanded = strips.expanded, pass.filtered = strips.filtered;
  return pass;
}

template <class T>
void Block<T>::forward_strip(const Context<T>& context, Pass& pass) const {
  const ConvShape& s = layer(context, depthwise_).spec.shape;
  const Strip& strip = pass.strip;
  const Index filtered = (strip.out.end - strip.out.begin) * s.out_width;
  const Index expanded = expands_ ? (strip.held.end - strip.held.begin - strip.old) * s.width : 0;
  for (pass.block = 0; pass.block < wide_; pass.block += forward_block_) {
    const Index width = std::min(forward_block_, wide_ - pass.block);
    for_columns(*context.kernels, width, strip.images * kPanel * (expanded * in_ + filtered * s.taps()),
                [&](Index column, Index count) { forward_columns(context, pass, pass.block + column, count); });
    project_columns(context, pass, width);
  }
}

template <class T>
void Block<T>::forward_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const {
  if (!pass.folded) fold_columns(context, pass, c, count);
  expand_columns(context, pass, c, count);
  filter_columns(context, pass, c, count);
}

template <class T>
void Block<T>::fold_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const {
  const Kernels<T>& kernels = *context.kernels;
  const Index column = c - pass.block;
  layer(context, depthwise_)
      .fold(kernels, c, count, pass.depthwise_fold + column, pass.depthwise_fold + pass.columns + column);
  if (!expands_ || pass.ready) return;
  layer(context, expand_).fold(kernels, c, count, pass.expand_fold + column, pass.expand_fold + pass.columns + column);
}

// Expands `count` <= kPair channels from `c` on of a strip's new rows, behind those that it has already, and keeps what
// backward needs of them.
template <class T>
void Block<T>::expand_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const {
  const Layer<T>& dw = layer(context, depthwise_);
  const Strip& strip = pass.strip;
  const Index width = dw.spec.shape.width, column = c - pass.block;
  const Index held = (strip.held.end - strip.held.begin) * width, old = strip.old * width;
  const Index first = strip.first_image * in_rows_ + strip.held.begin * width + old;
  const Index pixels = strip.images > 1 ? strip.images * in_rows_ : held - old;
  if (expands_ && !pass.ready) {
    move_old_rows(context, pass, column, count);
    expand_pixels(context, pass, first, pixels, c, count);
  }
  if (pass.saved.depthwise.data == nullptr) return;
  const T* wide = expands_ ? pass.expanded + old * pass.columns + column : pass.x.data + first * wide_ + c;
  dw.save(*context.kernels, wide, expands_ ? pass.columns : wide_, pixels, c, count,
          from_pixel(pass.saved.depthwise, first));
}

// The rows that the strip before has expanded already, to the front.
template <class T>
void Block<T>::move_old_rows(const Context<T>& context, const Pass& pass, Index column, Index count) const {
  if (pass.strip.shift == 0) return;
  const Index width = layer(context, depthwise_).spec.shape.width;
  T* out = pass.expanded + column;
  const T* kept = out + pass.strip.shift * width * pass.columns;
  for (Index pixel = 0; pixel < pass.strip.old * width; ++pixel) {
    std::copy_n(kept + pixel * pass.columns, count, out + pixel * pass.columns);
  }
}

// `pixels` pixels of all images from `first` on.
template <class T>
void Block<T>::expand_pixels(const Context<T>& context, const Pass& pass, Index first, Index pixels, Index c,
                             Index count) const {
  const Layer<T>& expand = layer(context, expand_);
  const Index width = layer(context, depthwise_).spec.shape.width, column = c - pass.block;
  GemmArgs<T> args{};
  args.a = pass.x.data + (first - pass.x.begin * width) * in_, args.a_row = in_;
  args.b = expand.params.weight + c;
  args.c = pass.expanded + column + pass.strip.old * width * pass.columns, args.c_row = pass.columns;
  args.rows = pixels, args.cols = count;
  args.sum.n1 = in_, args.sum.b1 = wide_;
  args.store = Store::affine;
  args.affine.scale = expand.spec.has_norm ? pass.expand_fold + column : nullptr;
  args.affine.shift = pass.expand_fold + pass.columns + column;
  args.affine.activation = expand.spec.activation;
  const Index all = context.images * in_rows_;
  std::uint8_t* bits = pass.saved.expand_mask;
  if (bits != nullptr) bits += panel_mask(all, c - pass.saved.first);
  gemm_with_panel_bits(*context.kernels, args, bits, all, first, wide_, c);
}

// Filters `count` <= kPair channels from `c` on, and keeps what backward needs of them.
template <class T>
void Block<T>::filter_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const {
  for (Index done = 0; done < count; done += kPanel) {
    filter_panel(context, pass, c + done, std::min(kPanel, count - done));
  }
  if (pass.saved.project.data == nullptr) return;
  const Strip& strip = pass.strip;
  const Index width = layer(context, depthwise_).spec.shape.out_width;
  const Index first = strip.first_image * out_rows_ + strip.out.begin * width;
  layer(context, project_)
      .save(*context.kernels, pass.filtered + c - pass.block, pass.columns,
            strip.images * (strip.out.end - strip.out.begin) * width, c, count, from_pixel(pass.saved.project, first));
}

template <class T>
void Block<T>::filter_panel(const Context<T>& context, const Pass& pass, Index c, Index count) const {
  const Layer<T>& dw = layer(context, depthwise_);
  const Strip& strip = pass.strip;
  const Index column = c - pass.block;
  DepthwiseArgs<T> args{};
  args.shape = dw.spec.shape;
  args.x_pixel = expands_ ? pass.columns : wide_, args.y_pixel = pass.columns;
  args.x_begin = expands_ ? strip.held.begin : pass.x.begin, args.y_begin = strip.out.begin;
  args.weight = dw.params.weight + c, args.weight_row = wide_;
  args.channels = count, args.row_begin = strip.out.begin, args.row_end = strip.out.end;
  args.affine.scale = dw.spec.has_norm ? pass.depthwise_fold + column : nullptr;
  args.affine.shift = pass.depthwise_fold + pass.columns + column;
  args.affine.activation = dw.spec.activation;
  args.affine.mask_row = panel_mask_row(wide_, c);
  for (Index i = 0; i < strip.images; ++i) {
    const Index image = strip.first_image + i;
    args.x =
        expands_ ? pass.expanded + column + i * in_rows_ * pass.columns : pass.x.data + c + image * in_rows_ * wide_;
    args.y = pass.filtered + column + i * out_rows_ * pass.columns;
    if (pass.saved.depthwise_mask != nullptr) {
      args.affine.mask = pass.saved.depthwise_mask + panel_mask(context.images * out_rows_, c - pass.saved.first) +
                         image * out_rows_ * args.affine.mask_row;
    }
    context.kernels->depthwise_forward(args);
  }
}

// Adds what `count` channels of the block give to the strip's output; with the last of them it is finished.
template <class T>
void Block<T>::project_columns(const Context<T>& context, const Pass& pass, Index count) const {
  const Layer<T>& project = layer(context, project_);
  const Strip& strip = pass.strip;
  const ConvShape& s = layer(context, depthwise_).spec.shape;
  const Index first = strip.first_image * out_rows_ + strip.out.begin * s.out_width;
  GemmArgs<T> args{};
  args.a = pass.filtered, args.a_row = pass.columns;
  args.b = project.params.weight + pass.block * out_;
  args.c = pass.y.data + (first - pass.y.begin * s.out_width) * out_, args.c_row = out_;
  args.rows = strip.images * (strip.out.end - strip.out.begin) * s.out_width, args.cols = out_;
  args.sum.n1 = count, args.sum.b1 = out_;
  args.start = pass.block > 0 ? Start::output : Start::zero;
  args.store = Store::assign;
  if (pass.block + count == wide_) {
    args.store = Store::affine;
    args.affine.scale = project.spec.has_norm ? pass.project_fold : nullptr;
    args.affine.shift = pass.project_fold + out_;
    if (this->spec.residual) {
      args.affine.residual = pass.x.data + (first - pass.x.begin * s.out_width) * in_, args.affine.residual_row = in_;
    }
  }
  parallel_gemm(*context.kernels, args);
}

#define SPARSEBP_INSTANTIATE(T)                                                                \
  template void Block<T>::forward(Context<T>&);                                                \
  template void Block<T>::forward_rows(Context<T>&, Rows<const T>, Rows<T>, Range);            \
  template void Block<T>::forward_strip(const Context<T>&, Pass&) const;                       \
  template void Block<T>::forward_columns(const Context<T>&, const Pass&, Index, Index) const; \
  template void Block<T>::fold_columns(const Context<T>&, const Pass&, Index, Index) const;    \
  template void Block<T>::expand_columns(const Context<T>&, const Pass&, Index, Index) const;
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
