// A side of an image in parts as equal as can be.
#pragma once

#include "core/shape.h"

namespace sparsebp {

// Part i of a side of `size` pixels in `parts` parts, which share a pixel where they do not come out even; as torch
// divides.
SPARSEBP_INLINE Range part_of(Index i, Index parts, Index size) {
  return {i * size / parts, ((i + 1) * size + parts - 1) / parts};
}

// The parts that pixel `i` of the side belongs to.
SPARSEBP_INLINE Range parts_with(Index i, Index parts, Index size) { return part_of(i, size, parts); }

}  // namespace sparsebp
