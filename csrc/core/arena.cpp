#include "core/arena.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/error.h"

namespace sparsebp {

const char* category_name(Category category) {
  static constexpr const char* kNames[kCategories] = {
      "saved", "masks", "gradients", "weight_gradients", "optimizer", "scratch", "sampler", "activations", "pictures"};
  return kNames[static_cast<int>(category)];
}

Arena::Arena(std::size_t capacity, Memory& memory)
    : data_(memory.allocate(capacity), Free{memory}), capacity_(capacity) {}

std::byte* Arena::acquire(std::size_t offset, std::size_t bytes, Category category) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  const std::size_t end = bytes > kMost - offset ? kMost : offset + bytes;
  if (end > capacity_) {
    std::string message = "the arena has " + std::to_string(capacity_) + " bytes, a request for " +
                          std::to_string(bytes) + " bytes of " + category_name(category) + " needs " +
                          std::to_string(end) + "; held:";
    for (int i = 0; i < kCategories; ++i) {
      if (held_[i] != 0) {
        message += std::string(" ") + category_name(static_cast<Category>(i)) + " " + std::to_string(held_[i]);
      }
    }
    throw BudgetExceeded(message, end, capacity_);
  }
  const int i = static_cast<int>(category);
  used_ += bytes;
  held_[i] += bytes;
  held_peak_[i] = std::max(held_peak_[i], held_[i]);
  peak_ = std::max(peak_, end);
  return data_.get() + offset;
}

void Arena::release(std::size_t bytes, Category category) {
  used_ -= bytes;
  held_[static_cast<int>(category)] -= bytes;
}

}  // namespace sparsebp
