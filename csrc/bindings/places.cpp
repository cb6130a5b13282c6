// Looking at hundreds of Python objects in every step: whether they still stand where they stood, and are what they
// were. Nothing is held between two calls, so that Python's garbage collector sees every reference.
#include <pybind11/pybind11.h>

#include "bindings/classes.h"
#include "core/error.h"

namespace py = pybind11;

namespace sparsebp {
namespace {

void require_same_length(const py::list& one, const char* name, const py::list& other) {
  if (other.size() != one.size()) {
    throw InvalidArgument(std::string(name) + ": expected a list of " + std::to_string(one.size()) + ", got " +
                          std::to_string(other.size()));
  }
}

bool equal(const py::object& one, const py::object& other) {
  if (one.is(other)) return true;
  const int same = PyObject_RichCompareBool(one.ptr(), other.ptr(), Py_EQ);
  if (same < 0) throw py::error_already_set();
  return same == 1;
}

// What stands in a dictionary, as `dict.get` finds it. It is held: comparing may run code that takes it away.
py::object found(const py::handle& table, const py::handle& key) {
  if (!PyDict_Check(table.ptr())) throw InvalidArgument("tables: expected dictionaries");
  PyObject* value = PyDict_GetItemWithError(table.ptr(), key.ptr());
  if (value == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return value == nullptr ? py::object(py::none()) : py::reinterpret_borrow<py::object>(value);
}

py::ssize_t changed_item(const py::list& tables, const py::list& keys, const py::list& values, bool by_value) {
  require_same_length(tables, "keys", keys);
  require_same_length(tables, "values", values);
  for (std::size_t i = 0; i < tables.size() && i < keys.size() && i < values.size(); ++i) {
    const py::object here = found(tables[i], keys[i]), before = values[i];
    if (!here.is(before) && !(by_value && equal(here, before))) return static_cast<py::ssize_t>(i);
  }
  return -1;
}

py::ssize_t changed_answer(const py::object& method, const py::list& objects, const py::list& answers) {
  require_same_length(objects, "answers", answers);
  for (std::size_t i = 0; i < objects.size() && i < answers.size(); ++i) {
    const py::object asked = objects[i], before = answers[i];
    PyObject* arguments[] = {asked.ptr()};
    PyObject* answer = PyObject_Vectorcall(method.ptr(), arguments, 1, nullptr);
    if (answer == nullptr) throw py::error_already_set();
    if (!equal(py::reinterpret_steal<py::object>(answer), before)) return static_cast<py::ssize_t>(i);
  }
  return -1;
}

}  // namespace

void bind_places(py::module_& m) {
  m.def("changed_item", &changed_item, py::arg("tables"), py::arg("keys"), py::arg("values"),
        py::arg("by_value") = false,
        "Number of the first of some dictionaries in which something else stands under its key, or -1. None stands for "
        "nothing. Values that compare equal are the same only `by_value`.");
  m.def("changed_answer", &changed_answer, py::arg("method"), py::arg("objects"), py::arg("answers"),
        "Number of the first of some objects for which a method returns something else than it did, or -1.");
}

}  // namespace sparsebp
