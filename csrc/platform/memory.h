// This process's memory: what the system gives, or a block of somebody else's.
#pragma once

#include "core/memory.h"

namespace sparsebp {

// What the system gives.
Memory& host_memory();

// Gives pages back to the system that were freed and kept for later; does nothing where the C library cannot.
void release_free_memory();

// A block that somebody else has given, handed out from its beginning: for as many allocations as fit.
class GivenMemory final : public Memory {
 public:
  GivenMemory(void* block, std::size_t bytes) : block_(static_cast<std::byte*>(block)), left_(bytes) {}

  std::byte* allocate(std::size_t bytes) override;
  void free(std::byte*) override {}
  void fill(void* to, unsigned char value, std::size_t bytes) override;
  void write(void* to, const void* host, std::size_t bytes) override;
  void read(void* host, const void* from, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  bool local() const override { return true; }

 private:
  std::byte* block_;
  std::size_t left_;
};

}  // namespace sparsebp
