#include "bindings/classes.h"

#include <string>

namespace sparsebp {

namespace py = pybind11;

void forbid_bare_new(py::module_& m) {
  for (const auto& [key, value] : py::dict(m.attr("__dict__"))) {
    // Enumerators are numbers, whose values are checked where they are used; copying makes them by `__new__`.
    if (!PyType_Check(value.ptr()) || py::hasattr(value, "__members__")) continue;
    auto* type = reinterpret_cast<PyTypeObject*>(value.ptr());
    const newfunc make = type->tp_new;
    value.attr("__new__") = py::cpp_function([name = std::string(py::str(key))](const py::args&, const py::kwargs&) {
      throw py::type_error(name + ".__new__: an object is made by calling its class");
    });
    type->tp_new = make;  // for that call
  }
}

}  // namespace sparsebp
