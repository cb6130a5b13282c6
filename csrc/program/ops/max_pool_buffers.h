// What a max-pooling acquires while it runs, wherever that is: where in each window its largest number was.
#pragma once

#include "program/op.h"

namespace sparsebp {

template <class T>
class MaxPoolBuffers : public Op<T> {
 public:
  MaxPoolBuffers(const OpSpec& op, const Declare<T>& declare)
      : Op<T>(op), pixel_(tap_bytes(op.window.in, op.window.taps())) {
    if (declare.in_span) taps_ = declare.mask(-1, declare.batch * op.window.out_pixels() * pixel_);
  }

 protected:
  // Null where backward needs none.
  std::uint8_t* acquire_taps(Context<T>& context) const {
    if (!context.save || taps_ < 0) return nullptr;
    const Index bytes = context.images * this->spec.window.out_pixels() * pixel_;
    return context.training.template acquire<std::uint8_t>(taps_, bytes);
  }
  std::uint8_t* taps(Context<T>& context) const { return context.training.template at<std::uint8_t>(taps_); }

  const Index pixel_;  // bytes

 private:
  int taps_ = -1;
};

}  // namespace sparsebp
