#include "core/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "core/layout.h"

namespace sparsebp {
namespace {

class HostMemory final : public Memory {
 public:
  std::byte* allocate(std::size_t bytes) override {
    // aligned_alloc wants a multiple of the alignment; the bytes past `bytes` are never handed out.
    if (bytes > std::numeric_limits<std::size_t>::max() - kAlignment) throw std::bad_alloc();
    void* block = std::aligned_alloc(kAlignment, std::max(align_up(bytes), kAlignment));
    if (block == nullptr) throw std::bad_alloc();
    return static_cast<std::byte*>(block);
  }
  void free(std::byte* block) override { std::free(block); }

  void fill(void* to, unsigned char value, std::size_t bytes) override { std::memset(to, value, bytes); }
  void write(void* to, const void* host, std::size_t bytes) override { std::memcpy(to, host, bytes); }
  void read(void* host, const void* from, std::size_t bytes) override { std::memcpy(host, from, bytes); }
};

}  // namespace

Memory& host_memory() {
  static HostMemory memory;
  return memory;
}

}  // namespace sparsebp
