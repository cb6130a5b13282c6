// Where a block keeps its input, its backward pass makes what it needs of the forward pass again: channel block by
// channel block, on whole images, where the gradients of the same tensors lie afterwards. No later block reads a weight
// or a shift that an earlier one trains: all of them are of the block's own expanded channels.
#include "program/convolution.h"
#include "program/ops/block.h"

namespace sparsebp {

template <class T>
typename Block<T>::Pass Block<T>::begin_recomputing(Context<T>& context, const Scratch& scratch) const {
  const Index n = context.images;
  const ConvShape& s = layer(context, depthwise_).spec.shape;
  Pass pass{};
  pass.saved = acquire_remains(context);
  pass.strip = {0, n, {0, s.out_height}, {0, s.height}, 0, 0};
  pass.x = {pass.saved.input.data, 0};
  pass.columns = backward_block_;
  T* fold = context.training.template acquire<T>(refold_, 4 * backward_block_);
  if (!expands_) std::fill_n(fold, 2 * backward_block_, T(0));
  pass.expand_fold = fold, pass.depthwise_fold = fold + 2 * backward_block_;
  pass.expanded = scratch.d_expanded, pass.filtered = scratch.d_filtered;
  pass.ready = in_levels();
  return pass;
}

// Expands the channels of a block of an input in 8 bits, as many rows at a time as d_filtered, unused until then,
// has room to restore.
template <class T>
void Block<T>::expand_levels(Context<T>& context, const Scratch& scratch, const Pass& pass,
                             const ColumnParts& parts) const {
  const Index height = in_rows_ / width_, most = filtered_count(context.images) / (width_ * in_);
  for (Index image = 0; image < context.images; ++image) {
    for (Index row = 0; row < height; row += most) {
      const Index end = std::min(row + most, height), first = image * height + row;
      restore(context, image, {row * width_, end * width_}, 0, in_, scratch.d_filtered, in_);
      Pass rows = pass;
      rows.ready = false, rows.saved.depthwise = {};
      rows.strip = {0, 1, {}, {first, first + end - row}, 0, 0};  // of all images, one below the other
      rows.x = {scratch.d_filtered, first};
      const Index work = (end - row) * width_ * in_ * kPanel;
      for_columns(parts, work, [&](Index part, Index column, Index count) {
        Pass own = rows.part(*this, parts, part, context.images);
        own.expanded += first * width_ * own.columns;
        fold_columns(context, own, pass.block + column, count);
        expand_columns(context, own, pass.block + column, count);
      });
    }
  }
}

// Trains the expansion from an input in 8 bits, of which d_filtered, used up by then, holds some channels at a time.
template <class T>
void Block<T>::train_from_levels(Context<T>& context, const Scratch& scratch, const OutputGrad<T>& grad) {
  Layer<T>& expand = layer(context, expand_);
  if (!expand.wants_weight_grad()) return;
  for (Index c = 0; c < in_; c += restored_) {
    const Index count = std::min(restored_, in_ - c);
    for (Index image = 0; image < context.images; ++image) {
      restore(context, image, {0, in_rows_}, c, count, scratch.d_filtered + image * in_rows_ * restored_, restored_);
    }
    expand.update_weight(*context.kernels, context.images, grad, {scratch.d_filtered, restored_, c}, c, count);
  }
}

#define SPARSEBP_INSTANTIATE(T)                                                                              \
  template typename Block<T>::Pass Block<T>::begin_recomputing(Context<T>&, const Scratch&) const;           \
  template void Block<T>::expand_levels(Context<T>&, const Scratch&, const Pass&, const ColumnParts&) const; \
  template void Block<T>::train_from_levels(Context<T>&, const Scratch&, const OutputGrad<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
