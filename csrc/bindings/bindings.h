// The parts of the Python module sparsebp._C.
#pragma once

#include <pybind11/pybind11.h>

namespace sparsebp {

// What a session is made of, and sessions from plan files.
void bind_sessions(pybind11::module_& m);

}  // namespace sparsebp
