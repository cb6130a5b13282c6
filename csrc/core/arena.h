// One block of memory of a fixed size, handed out at planned offsets and counted while it is held.
//
// The arena does not choose offsets (layout.h does, once, when the plan is made); it enforces them: a request
// that would end behind the block throws BudgetExceeded and changes nothing. `peak` is the highest byte that was
// ever acquired, counted from the requests themselves and not read back from a plan.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/memory.h"

namespace sparsebp {

// What a byte is held for: the seven kinds of training memory, and what inference holds as well. That lies in the
// workspace, or where the budget covers the whole step in the arena.
enum class Category : std::uint8_t {
  saved,             // selected input channels, copied out in the forward pass
  masks,             // one bit per element: does the gradient pass the activation
  gradients,         // with respect to activations
  weight_gradients,  // sums over micro-batches, where the budget holds them
  optimizer,         // momentum
  scratch,           // kernel scratch and packing panels
  sampler,           // sampled indices and what a sampler remembers per channel
  activations,       // of inference, and its scratch
  pictures,          // images, as bytes or as the numbers that the network reads
};
constexpr int kCategories = 9;
constexpr bool of_inference(Category category) { return category >= Category::activations; }
const char* category_name(Category category);

class Arena {
 public:
  Arena(std::size_t capacity, Memory& memory);

  std::byte* acquire(std::size_t offset, std::size_t bytes, Category category);
  void release(std::size_t bytes, Category category);

  Memory& memory() const { return data_.get_deleter().memory; }
  std::byte* data() { return data_.get(); }
  std::size_t capacity() const { return capacity_; }
  std::size_t used() const { return used_; }
  std::size_t peak() const { return peak_; }
  std::size_t held(Category category) const { return held_[static_cast<int>(category)]; }
  std::size_t held_peak(Category category) const { return held_peak_[static_cast<int>(category)]; }

 private:
  struct Free {
    Memory& memory;
    void operator()(std::byte* block) const { memory.free(block); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t capacity_;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
  std::array<std::size_t, kCategories> held_{};
  std::array<std::size_t, kCategories> held_peak_{};
};

}  // namespace sparsebp
