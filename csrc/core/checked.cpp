#include "core/checked.h"

#include <string>

#include "core/error.h"

namespace sparsebp {

std::size_t byte_count(std::string_view what, Checked count, std::size_t size) {
  const Checked bytes = count * static_cast<Index>(size);
  if (!bytes.between(0, static_cast<Index>(kMostBytes))) {
    throw InvalidArgument(std::string(what) + ": needs more than " + std::to_string(kMostBytes) +
                          " bytes, which no process can have");
  }
  return static_cast<std::size_t>(bytes.value());
}

}  // namespace sparsebp
