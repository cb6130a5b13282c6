// Where a block keeps its input, its backward pass makes what it needs of the forward pass again: channel block by
// channel block, on whole images, where the gradients of the same tensors lie afterwards. No later block reads a weight
// or a shift that an earlier one trains: all of them are of the block's own expanded channels.
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
  return pass;
}

#define SPARSEBP_INSTANTIATE(T) \
  template typename Block<T>::Pass Block<T>::begin_recomputing(Context<T>&, const Scratch&) const;
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
