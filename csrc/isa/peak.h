// What the multiply-add units of this machine do at best.
#pragma once

#include "isa/dispatch.h"

namespace sparsebp {

// 10^9 float32 operations a second, two for each multiply-add, on all threads of the pool: the best of a few tries of
// about a millisecond.
double fma_peak(const Isa& isa);

}  // namespace sparsebp
