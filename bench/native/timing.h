// How long a case takes, and how fast this core can be.
#pragma once

#include "cases.h"

namespace sparsebp {

struct Timing {
  double microseconds;  // of one run: the median of the samples
  double spread;        // their interquartile range as a share of the median
};

// Times `one` for about `seconds`, in samples of as many runs as a clock can tell apart.
Timing time_case(Case& one, double seconds);

// Multiply-adds a second of the best gemm there can be: 96 x 16 x 256, every operand in the first-level cache.
double peak_rate(const Kernels<float>& kernels);

}  // namespace sparsebp
