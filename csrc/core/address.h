// Addresses that come from outside: what can be told of them without reading.
#pragma once

#include <string_view>

#include "core/shape.h"

namespace sparsebp {

// Throws InvalidArgument, naming `what`, unless `count` numbers of `size` bytes can lie from `address` on. Of none the
// address may be null.
void check_address(std::string_view what, const void* address, Index count, std::size_t size);

}  // namespace sparsebp
