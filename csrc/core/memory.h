// Where an arena's bytes lie: this process's memory, or a device's.
#pragma once

#include <cstddef>

namespace sparsebp {

class Memory {
 public:
  virtual ~Memory() = default;

  // A block aligned to kAlignment. Throws std::bad_alloc or OutOfDeviceMemory.
  virtual std::byte* allocate(std::size_t bytes) = 0;
  virtual void free(std::byte* block) = 0;

  // `to` and `from` lie in this memory, `host` in the process's. `write` has read `host` when it returns; `read` waits
  // for what was started before.
  virtual void fill(void* to, unsigned char value, std::size_t bytes) = 0;
  virtual void write(void* to, const void* host, std::size_t bytes) = 0;
  virtual void read(void* host, const void* from, std::size_t bytes) = 0;

  // Is it this process's memory?
  virtual bool local() const { return false; }
};

// What the system gives.
Memory& host_memory();

// A block that somebody else has given, handed out from its beginning: for as many allocations as fit.
class GivenMemory final : public Memory {
 public:
  GivenMemory(void* block, std::size_t bytes) : block_(static_cast<std::byte*>(block)), left_(bytes) {}

  std::byte* allocate(std::size_t bytes) override;
  void free(std::byte*) override {}
  void fill(void* to, unsigned char value, std::size_t bytes) override;
  void write(void* to, const void* host, std::size_t bytes) override;
  void read(void* host, const void* from, std::size_t bytes) override;
  bool local() const override { return true; }

 private:
  std::byte* block_;
  std::size_t left_;
};

}  // namespace sparsebp
