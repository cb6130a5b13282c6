#include "core/address.h"

#include <string>

#include "core/checked.h"
#include "core/error.h"

namespace sparsebp {

void check_address(std::string_view what, const void* address, Index count, std::size_t size) {
  if (count == 0) return;
  const std::size_t bytes = byte_count(what, count, size);
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  if (begin != 0 && begin % size == 0 && begin <= UINTPTR_MAX - bytes) return;
  throw InvalidArgument(std::string(what) + ": expected the address of " + std::to_string(count) +
                        " numbers, a multiple of their " + std::to_string(size) + " bytes, got " +
                        (begin == 0 ? "null" : std::to_string(begin)));
}

}  // namespace sparsebp
