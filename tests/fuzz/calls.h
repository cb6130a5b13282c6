// Calls to a program, in any order and with any arguments, and what holds after each of them.
#pragma once

#include "choices.h"
#include "program/program.h"

namespace fuzz {

// `float64` says what the program's numbers are. Aborts where a call breaks what program.h promises.
void call(sparsebp::AnyProgram& program, bool float64, Choices& choices);

}  // namespace fuzz
