// Arithmetic on sizes that come from outside and may be anything.
#pragma once

#include <cstddef>
#include <string_view>

#include "core/shape.h"

namespace sparsebp {

// A number that remembers whether it, or anything it was computed from, did not fit: one question at the end of a
// formula is enough.
class Checked {
 public:
  constexpr Checked(Index value) : value_(value) {}  // implicit: plain numbers take part in formulas

  friend constexpr Checked operator+(Checked a, Checked b) {
    Checked sum(0);
    const bool lost = __builtin_add_overflow(a.value_, b.value_, &sum.value_);
    sum.lost_ = lost || a.lost_ || b.lost_;
    return sum;
  }
  friend constexpr Checked operator*(Checked a, Checked b) {
    Checked product(0);
    const bool lost = __builtin_mul_overflow(a.value_, b.value_, &product.value_);
    product.lost_ = lost || a.lost_ || b.lost_;
    return product;
  }

  constexpr bool between(Index least, Index most) const { return !lost_ && value_ >= least && value_ <= most; }
  // Only of a number that was found to lie between two others.
  constexpr Index value() const { return value_; }

 private:
  Index value_;
  bool lost_ = false;
};

// No block of memory is larger: addresses in it can be subtracted.
constexpr std::size_t kMostBytes = static_cast<std::size_t>(PTRDIFF_MAX);

// Bytes of `count` elements of `size` bytes. Throws InvalidArgument, naming `what`, where no memory can hold them.
std::size_t byte_count(std::string_view what, Checked count, std::size_t size);

}  // namespace sparsebp
