// Each native exception becomes its Python type.
#include <pybind11/pybind11.h>

#include <string>

#include "bindings/classes.h"
#include "core/error.h"

namespace py = pybind11;

namespace sparsebp {
namespace {

// Where the types are: "sparsebp.errors", or "sparsebp_runtime.errors" in the module of that package.
std::string& types() {
  static std::string name;
  return name;
}

py::object error_type(const char* name) { return py::module_::import(types().c_str()).attr(name); }

void translate(std::exception_ptr raised) {
  try {
    if (raised) std::rethrow_exception(raised);
  } catch (const BudgetExceeded& error) {
    const py::object type = error_type("BudgetExceeded");
    PyErr_SetObject(type.ptr(), type(error.what(), error.required, error.budget).ptr());
  } catch (const NonFinite& error) {
    PyErr_SetString(PyExc_FloatingPointError, error.what());
  } catch (const OutOfDeviceMemory& error) {
    PyErr_SetString(error_type("DeviceMemoryError").ptr(), error.what());
  } catch (const DeviceError& error) {
    PyErr_SetString(error_type("DeviceError").ptr(), error.what());
  } catch (const InvalidFile& error) {
    PyErr_SetString(error_type("PlanFileError").ptr(), error.what());
  } catch (const WrongState& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  } catch (const InvalidArgument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  }
}

}  // namespace

void register_errors(const py::module_& m) {
  const auto name = m.attr("__name__").cast<std::string>();
  types() = name.substr(0, name.rfind('.')) + ".errors";
  py::register_exception_translator(&translate);
}

}  // namespace sparsebp
