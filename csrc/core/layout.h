// Offsets for buffers with known lifetimes: two buffers share bytes only if they are never alive together.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/arena.h"

namespace sparsebp {

// 32 bytes: one AVX2 vector. More would waste budget between the many small buffers of a step.
constexpr std::size_t kAlignment = 32;
constexpr std::size_t align_up(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Whom a buffer serves in a program, and as what.
struct Purpose {
  int op = -1;            // -1: the program as a whole
  int layer = -1;         // -1: no single one
  const char* role = "";  // a literal
};

struct Buffer {
  std::string name;  // for people
  Purpose purpose;
  Category category;
  std::size_t bytes;
  int begin;  // first and last moment of a step at which it is alive, both inclusive
  int end;
  std::size_t offset = 0;
};

class Layout {
 public:
  // Returns the buffer's index. An empty buffer is allowed; it takes no bytes.
  int add(std::string name, const Purpose& purpose, Category category, std::size_t bytes, int begin, int end);

  // Chooses every offset. Tries a few orders of first-fit placement and keeps the one with the lowest peak. Throws
  // InvalidArgument if none ends where memory can.
  void assign();

  std::size_t peak() const { return peak_; }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  const Buffer& operator[](int index) const { return buffers_[static_cast<std::size_t>(index)]; }

 private:
  std::size_t place(const std::vector<int>& order, std::vector<std::size_t>& offsets) const;
  std::vector<Buffer> buffers_;
  std::size_t peak_ = 0;
};

}  // namespace sparsebp
