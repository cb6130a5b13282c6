// What the streamed head acquires while it runs, wherever that is.
#pragma once

#include <algorithm>

#include "program/convolution.h"
#include "program/ops/layer_buffers.h"

namespace sparsebp {

// Channels of the forward pass's block, from the bytes of one: such a block stays in a second-level cache.
inline Index head_forward_block(Index channel_bytes, Index factor) {
  const Index bytes = 128 * 1024 * factor;
  return kPanel * std::max<Index>(2, bytes / std::max<Index>(kPanel * channel_bytes, 1));
}

template <class T>
class HeadBuffers : public LayerBuffers<T> {
 public:
  HeadBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) : LayerBuffers<T>(op, declare) {
    const LayerSpec& layer = program.layers[static_cast<std::size_t>(this->layer_)];
    in_ = layer.shape.in, out_ = layer.shape.out, pixels_ = layer.shape.pixels();
    forward_block_ = op.forward_block;
    if (forward_block_ == 0) {
      forward_block_ =
          head_forward_block(declare.batch * pixels_ * static_cast<Index>(sizeof(T)), declare.strip_factor);
    }
    forward_block_ = std::min(forward_block_, out_);
    backward_block_ = std::min(op.block, out_);
    const Index rows = declare.batch * pixels_;
    fold_ = declare.forward_scratch("fold", 2 * out_);
    z_ = declare.forward_scratch("z", rows * forward_block_);
    if (!declare.in_span) return;
    // The derivative of a curve is a number: instead of the output, as large as it is, the input is kept, from which
    // the backward pass makes a block of it again.
    if (is_layers(layer.activation)) {
      this->declare_saved(layer, declare);
    } else {
      kept_ = declare.template kept<T>("input", rows * in_);
      again_ = declare.backward_scratch("output again", rows * backward_block_);
    }
    dz_ = declare.backward_scratch("dz", rows * backward_block_);
    scale_ = declare.backward_scratch("scale", backward_block_);
    if (this->input_grad_) {
      panel_count_ = conv_backward_scratch(layer.shape, declare.batch, backward_block_);
      panels_ = declare.backward_scratch("panels", panel_count_);
    }
  }

 protected:
  bool remakes() const { return kept_ >= 0; }
  T* acquire_kept(Context<T>& context) const {
    return context.training.template acquire<T>(kept_, context.images * pixels_ * in_);
  }
  const T* kept(Context<T>& context) const { return context.training.template at<T>(kept_); }

  Index in_, out_, pixels_, forward_block_, backward_block_, panel_count_ = 0;
  int fold_ = -1, z_ = -1, dz_ = -1, scale_ = -1, panels_ = -1, kept_ = -1, again_ = -1;
};

}  // namespace sparsebp
