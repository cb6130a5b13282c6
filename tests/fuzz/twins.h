// A program in pieces beside the same one in none.
#pragma once

#include <string>

#include "spec/program_spec.h"

namespace fuzz {

// Aborts where two steps of `spec`, whole images as bytes, differ in a bit from those of the program that makes every
// value whole in a workspace. For small programs.
void compare_with_twin(const sparsebp::ProgramSpec& spec, bool float64, const std::string& isa);

}  // namespace fuzz
