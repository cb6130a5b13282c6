// The Python module sparsebp_runtime._C: what sparsebp.runtime takes of sparsebp._C, and nothing else.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/classes.h"
#include "isa/dispatch.h"
#include "platform/parallel.h"
#include "sparsebp/sparsebp.h"

using namespace sparsebp;

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native core of sparsebp_runtime: sessions from plan files.";
  m.attr("__version__") = sbp_version();
  register_errors(m);
  bind_sessions(m);
  forbid_bare_new(m);
  m.def("chosen_isa", [] { return std::string(choose_isa().name); });
  m.def("thread_count", &thread_count);
  m.def("set_plain_threads", &set_plain_threads, pybind11::arg("threads"));
}
