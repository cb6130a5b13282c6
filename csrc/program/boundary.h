// What callers may ask of a program: every argument, and the moment of every call, is checked here before anything runs
// or changes. Calls from several threads wait for each other.
#pragma once

#include "program/program.h"

namespace sparsebp {

// `program` believes what it is told; its numbers have `element` bytes.
std::unique_ptr<AnyProgram> guarded(std::unique_ptr<AnyProgram> program, std::size_t element);

}  // namespace sparsebp
