// The records of a plan file, made in Python of a program, its recipe and its training state.
#include "api/records.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/classes.h"
#include "core/error.h"
#include "spec/liveness.h"

namespace py = pybind11;

namespace sparsebp {
namespace {

void bind_recipe(py::module_& m) {
  py::enum_<Schedule>(m, "Schedule")
      .value("constant", Schedule::constant)
      .value("linear", Schedule::linear)
      .value("cosine", Schedule::cosine);
  py::class_<Recipe>(m, "Recipe")
      .def(py::init<>())
#define FIELD(name) .def_readwrite(#name, &Recipe::name)
          FIELD(rules) FIELD(sampling) FIELD(seed) FIELD(dropout_seed) FIELD(resample_every) FIELD(batch)
              FIELD(schedule) FIELD(warmup) FIELD(steps) FIELD(label_smoothing) FIELD(skip_above)
#undef FIELD
      ;
}

py::bytes as_bytes(const std::vector<unsigned char>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The record of a plan whose outputs from number `classes` on are spare; `tensors` are the names of each layer's
// weight, bias, gamma, beta, mean and variance.
py::bytes plan_record(ProgramSpec spec, Recipe recipe, const std::vector<std::vector<std::string>>& tensors,
                      std::uint64_t budget, std::optional<Index> classes) {
  const Session session(spec, recipe, {}, classes);
  if (session.arena_bytes() > budget) {
    throw BudgetExceeded("budget: the plan needs " + std::to_string(session.arena_bytes()) +
                             " bytes with the gradient of the loss, the budget is " + std::to_string(budget),
                         session.arena_bytes(), budget);
  }
  PlanRecord plan{std::move(spec), {}, std::move(recipe), budget, session.arena_bytes(), session.workspace_bytes()};
  if (tensors.size() != plan.spec.layers.size()) throw InvalidArgument("tensors: expected those of every layer");
  for (const auto& names : tensors) {
    if (names.size() != 6) throw InvalidArgument("tensors: expected six names for each layer");
    plan.tensors.push_back({names[0], names[1], names[2], names[3], names[4], names[5]});
  }
  ByteWriter out;
  write_plan(out, plan);
  return as_bytes(out.bytes());
}

py::bytes state_record(std::uint64_t batches, std::uint64_t steps, std::uint64_t turn, std::uint64_t forwards, bool due,
                       const std::vector<std::pair<std::string, py::bytes>>& regions) {
  Regions contents;
  for (const auto& [name, bytes] : regions) contents.emplace_back(name, static_cast<std::string>(bytes));
  return as_bytes(write_state({batches, steps, turn, forwards, due}, 1.0, contents));
}

}  // namespace

void bind_records(py::module_& m) {
  bind_recipe(m);
  m.def("classifier", &classifier, py::arg("spec"));
  m.def("plan_record", &plan_record, py::arg("spec"), py::arg("recipe"), py::arg("tensors"), py::arg("budget"),
        py::arg("classes"));
  m.def("state_record", &state_record, py::arg("batches"), py::arg("steps"), py::arg("turn"), py::arg("forwards"),
        py::arg("due"), py::arg("regions"));
}

}  // namespace sparsebp
