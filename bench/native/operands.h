// Memory for the operands of a kernel, filled so that no run meets a NaN, an infinity or a denormal.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include "core/layout.h"
#include "core/random.h"
#include "core/shape.h"

namespace sparsebp {

// `count` elements, aligned like a buffer of the arena: numbers in (-1, 1), or random bits.
template <class T>
class Operand {
 public:
  explicit Operand(Index count) : data_(allocate(static_cast<std::size_t>(count))) {
    for (Index i = 0; i < count; ++i) data_.get()[i] = element(static_cast<std::uint64_t>(i));
  }
  T* get() const { return data_.get(); }

 private:
  static T* allocate(std::size_t count) {
    void* memory = std::aligned_alloc(kAlignment, align_up(count * sizeof(T)));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  static T element(std::uint64_t i) {
    if constexpr (sizeof(T) == 1) {
      return static_cast<T>(mix64(i));
    } else {
      return static_cast<T>(2 * random_unit(0, i) - 1);
    }
  }
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

using Numbers = Operand<float>;
using Bits = Operand<std::uint8_t>;

}  // namespace sparsebp
