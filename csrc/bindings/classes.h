// The parts of the Python module.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace sparsebp {

class Session;

void bind_specs(pybind11::module_& m);
// What trains a program.
void bind_trainers(pybind11::module_& m);
// Sessions from plan files.
void bind_sessions(pybind11::module_& m);
// What plan files are made of.
void bind_records(pybind11::module_& m);
// Native exceptions become those of the module `errors` beside this one.
void register_errors(const pybind11::module_& m);
// An attached session's layers, ops, bytes and recipe.
pybind11::dict plan_data(const Session& session, std::uint64_t budget);

// An object is made by calling its class. `__new__` alone would leave one without a value, of which pybind11 then reads
// memory that nobody wrote.
void forbid_bare_new(pybind11::module_& m);

}  // namespace sparsebp
