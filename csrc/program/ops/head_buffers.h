// What the streamed head acquires while it runs, wherever that is.
#pragma once

#include <algorithm>

#include "program/dense.h"
#include "program/op.h"

namespace sparsebp {

// Channels of the forward pass's block, from the bytes of one: such a block stays in a second-level cache.
inline Index head_forward_block(Index channel_bytes, Index factor) {
  const Index bytes = 128 * 1024 * factor;
  return kPanel * std::max<Index>(2, bytes / std::max<Index>(kPanel * channel_bytes, 1));
}

template <class T>
class HeadBuffers : public Op<T> {
 public:
  HeadBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Op<T>(op), layer_(op.layers.at(0)), input_grad_(declare.input_grad) {
    const LayerSpec& layer = program.layers[static_cast<std::size_t>(layer_)];
    in_ = layer.shape.in, out_ = layer.shape.out, pixels_ = layer.shape.pixels();
    forward_block_ = std::min(head_forward_block(declare.batch * pixels_ * sizeof(T), declare.strip_factor), out_),
    backward_block_ = std::min(op.block, out_);
    const Index rows = declare.batch * pixels_;
    fold_ = declare.forward_scratch("fold", 2 * out_);
    z_ = declare.forward_scratch("z", rows * forward_block_);
    if (!declare.in_span) return;
    if (layer.selected > 0) saved_ = declare.saved("saved", rows * layer.selected);
    if (layer.activation != Activation::identity) mask_ = declare.masks("mask", rows * mask_row_bytes(out_));
    dz_ = declare.backward_scratch("dz", rows * backward_block_);
    scale_ = declare.backward_scratch("scale", backward_block_);
    if (input_grad_) {
      panel_count_ = conv_backward_scratch(layer.shape, declare.batch, backward_block_);
      panels_ = declare.backward_scratch("panels", panel_count_);
    }
  }

 protected:
  // While a forward pass saves: null where backward needs none.
  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (mask_ < 0) return nullptr;
    return context.training.template acquire<std::uint8_t>(mask_, context.images * pixels_ * mask_row_bytes(out_));
  }
  T* acquire_saved(Context<T>& context) const {
    if (saved_ < 0) return nullptr;
    return context.training.template acquire<T>(saved_, context.images * pixels_ * layer(context).spec.selected);
  }
  const T* saved(Context<T>& context) const { return saved_ >= 0 ? context.training.template at<T>(saved_) : nullptr; }
  const std::uint8_t* mask(Context<T>& context) const {
    return mask_ >= 0 ? context.training.template at<std::uint8_t>(mask_) : nullptr;
  }
  Layer<T>& layer(Context<T>& context) const { return context.layers[static_cast<std::size_t>(layer_)]; }

  const int layer_;
  const bool input_grad_;
  Index in_, out_, pixels_, forward_block_, backward_block_, panel_count_ = 0;
  int fold_ = -1, z_ = -1, saved_ = -1, mask_ = -1, dz_ = -1, scale_ = -1, panels_ = -1;
};

}  // namespace sparsebp
