// What a pooling over the channels acquires while it runs, wherever that is: which channels of a pixel get its
// gradient.
#pragma once

#include "program/ops/elementwise_buffers.h"

namespace sparsebp {

template <class T>
class ChannelPoolBuffers : public Elementwise<T> {
 public:
  ChannelPoolBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Elementwise<T>(op, program), in_(program.values[static_cast<std::size_t>(op.inputs[0])].channels) {
    if (!declare.in_span || op.reduction == Reduction::mean) return;
    mask_ = declare.mask(-1, declare.batch * this->pixels_ * mask_row_bytes(in_));
  }

 protected:
  // Null where backward needs none.
  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (!context.save || mask_ < 0) return nullptr;
    return context.training.template acquire<std::uint8_t>(mask_, this->rows(context) * mask_row_bytes(in_));
  }
  // Null for a mean, whose channels all get as much.
  std::uint8_t* mask(Context<T>& context) const {
    return mask_ >= 0 ? context.training.template at<std::uint8_t>(mask_) : nullptr;
  }

  const Index in_;  // channels

 private:
  int mask_ = -1;
};

}  // namespace sparsebp
