// Which instruction set runs: the best one that was built and that this processor has.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.h"

namespace sparsebp {

struct Isa {
  const char* name;
  bool (*supported)();
  const Kernels<float>* float32;
};

// Best first, scalar last.
const std::vector<Isa>& built_isas();

// Names that run on this machine, best first.
std::vector<std::string> usable_isas();

// The ISA of that name; an empty name takes SPARSEBP_ISA from the environment, and if that is unset the best.
// Throws InvalidArgument for a name that is unknown here or that the processor lacks.
const Isa& choose_isa(const std::string& name = "");

template <class T>
const Kernels<T>& kernels_of(const Isa& isa);

}  // namespace sparsebp
