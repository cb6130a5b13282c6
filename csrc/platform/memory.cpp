#include "platform/memory.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#ifdef __GLIBC__
#include <malloc.h>
#endif

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
  void copy(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  bool local() const override { return true; }
};

}  // namespace

Memory& host_memory() {
  static HostMemory memory;
  return memory;
}

void release_free_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

std::byte* GivenMemory::allocate(std::size_t bytes) {
  const std::size_t skipped =
      align_up(reinterpret_cast<std::uintptr_t>(block_)) - reinterpret_cast<std::uintptr_t>(block_);
  if (skipped > left_ || bytes > left_ - skipped) throw std::bad_alloc();
  std::byte* given = block_ + skipped;
  block_ += skipped + bytes, left_ -= skipped + bytes;
  return given;
}
void GivenMemory::fill(void* to, unsigned char value, std::size_t bytes) { std::memset(to, value, bytes); }
void GivenMemory::write(void* to, const void* host, std::size_t bytes) { std::memcpy(to, host, bytes); }
void GivenMemory::read(void* host, const void* from, std::size_t bytes) { std::memcpy(host, from, bytes); }
void GivenMemory::copy(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }

}  // namespace sparsebp
