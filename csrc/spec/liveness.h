// When each value of a program is made and last read, and whether a gradient has to reach it.
#pragma once

#include <vector>

#include "spec/program_spec.h"

namespace sparsebp {

// Indexed by value. Ops are numbered in execution order; -1 stands for the caller.
struct Liveness {
  std::vector<int> producer, consumer;
  // Does anything that produced the value, inside the span, train (or does the caller want the input's gradient).
  std::vector<char> needs_grad;
};

Liveness find_liveness(const ProgramSpec& spec);

// The last op, up to the one with which the span begins, that needs one value alone of all that comes before it: there
// a frozen prefix can end.
int end_of_prefix(const ProgramSpec& spec);

// The layer that makes the outputs, one channel each: behind its op there are only ops that leave channels apart.
// -1 if there is none.
int classifier(const ProgramSpec& spec);

}  // namespace sparsebp
