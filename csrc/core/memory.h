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

  // Both lie in this memory, or in other memory of the same device.
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;

  // Is it this process's memory?
  virtual bool local() const { return false; }
};

}  // namespace sparsebp
