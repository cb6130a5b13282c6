// What trains a program from Python: the rules of its parameters, and how far training is.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "bindings/classes.h"
#include "core/error.h"
#include "training/batch.h"
#include "training/rule_group.h"

namespace py = pybind11;

namespace sparsebp {
namespace {

using Address = std::uintptr_t;

const void* input(Address address) { return reinterpret_cast<const void*>(address); }
void* output(Address address) { return reinterpret_cast<void*>(address); }

void bind_rules(py::module_& m) {
  py::class_<ParameterRule>(m, "ParameterRule")
      .def(py::init<>())
#define FIELD(name) .def_readwrite(#name, &ParameterRule::name)
          FIELD(trains) FIELD(rate) FIELD(weight_decay) FIELD(momentum) FIELD(normalise)
#undef FIELD
      ;
  py::class_<LayerRule>(m, "LayerRule")
      .def(py::init<>())
      .def_readwrite("weight", &LayerRule::weight)
      .def_readwrite("bias", &LayerRule::bias)
      .def_readwrite("shift", &LayerRule::shift);
  m.attr("SQUARE_DECAY") = kSquareDecay;
}

std::unique_ptr<RuleGroup> make_group(Trainer& trainer, const std::vector<std::pair<int, int>>& places) {
  std::vector<Place> own;
  for (const auto& [layer, parameter] : places) own.push_back({layer, parameter});
  return std::make_unique<RuleGroup>(trainer, own);
}

template <class T>
void set_progress(Trainer& trainer, T Progress::*field, T value) {
  Progress progress = trainer.progress();
  progress.*field = value;
  trainer.set_progress(progress);
}

template <class T>
void set_draws(Trainer& trainer, T Draws::*field, T value) {
  Draws draws = trainer.draws();
  draws.*field = value;
  trainer.set_draws(draws);
}

// What op `first` reads lies image by image at `in`. Mean loss, images recognised, images that trained. `learned` takes
// a bool of each image, or is null.
py::tuple train(Trainer& trainer, int first, Address in, Index images, Address labels, Address logits,
                double label_smoothing, double skip_above, bool drop, bool finish, Address learned) {
  const ProgramSpec& spec = trainer.program().spec();
  if (trainer.program().itemsize() != sizeof(float) || std::string(trainer.program().isa()) == "cuda") {
    throw InvalidArgument("train_batch: the loss is computed for float32 programs on this processor only");
  }
  if (first < 0 || static_cast<std::size_t>(first) >= spec.ops.size()) throw InvalidArgument("first: no such op");
  const auto value = [&](int id) { return spec.values[static_cast<std::size_t>(id)].count(); };
  const Index one = value(spec.ops[static_cast<std::size_t>(first)].inputs[0]);
  const auto given = static_cast<const std::int32_t*>(input(labels));
  check_labels(given, images, value(spec.output));
  Step step;
  {
    py::gil_scoped_release release;
    const BatchSettings settings{label_smoothing, skip_above, drop, finish,
                                 learned == 0 ? nullptr : static_cast<bool*>(output(learned))};
    step = train_batch(trainer, first, given, images, value(spec.output), settings, static_cast<float*>(output(logits)),
                       [&](Index i, Index) { return static_cast<const float*>(input(in)) + i * one; });
  }
  return py::make_tuple(step.loss, step.correct, step.trained);
}

void bind_trainer(py::module_& m) {
  py::class_<Trainer>(m, "Trainer", py::is_final())
      .def(py::init([](AnyProgram& program, DrawFunction draw, Sampling sampling, std::uint64_t seed,
                       std::uint64_t dropout_seed, std::uint64_t resample_every) {
             return std::make_unique<Trainer>(program, Draws{sampling, seed, dropout_seed, resample_every},
                                              std::move(draw));
           }),
           py::arg("program"), py::arg("draw") = py::none(), py::arg("sampling") = Sampling::uniform,
           py::arg("seed") = 0, py::arg("dropout_seed") = 0, py::arg("resample_every") = 1, py::keep_alive<1, 2>())
#define PROGRESS(name)                                           \
  .def_property(                                                 \
      #name, [](const Trainer& t) { return t.progress().name; }, \
      [](Trainer& t, decltype(Progress::name) value) { set_progress(t, &Progress::name, value); })
          PROGRESS(steps) PROGRESS(turn) PROGRESS(forwards) PROGRESS(due) PROGRESS(pending)
#undef PROGRESS
#define DRAWS(name)                                           \
  .def_property(                                              \
      #name, [](const Trainer& t) { return t.draws().name; }, \
      [](Trainer& t, decltype(Draws::name) value) { set_draws(t, &Draws::name, value); })
              DRAWS(dropout_seed) DRAWS(resample_every)
#undef DRAWS
      .def_property("stride", &Trainer::stride, &Trainer::set_stride)
      .def("clear_rules",
           [](Trainer& t) {
             for (LayerRule& rule : t.rules()) rule = {};
           })
      .def("draw", &Trainer::draw, py::call_guard<py::gil_scoped_release>())
      .def(
          "forward",
          [](Trainer& t, int first, int last, Address in, Address out, Index images, bool drop) {
            py::gil_scoped_release release;
            t.forward(first, last, input(in), output(out), images, drop);
          },
          py::arg("first"), py::arg("last"), py::arg("input"), py::arg("output"), py::arg("images"), py::arg("drop"))
      .def(
          "infer",
          [](Trainer& t, int first, int last, Address in, Address out, Index images, bool drop) {
            py::gil_scoped_release release;
            t.infer(first, last, input(in), output(out), images, drop);
          },
          py::arg("first"), py::arg("last"), py::arg("input"), py::arg("output"), py::arg("images"), py::arg("drop"))
      .def(
          "backward",
          [](Trainer& t, Address dy, Address dx, double share, bool keep) {
            py::gil_scoped_release release;
            t.backward(input(dy), output(dx), share, keep);
          },
          py::arg("output_grad"), py::arg("input_grad"), py::arg("share") = 1.0, py::arg("keep") = false)
      .def("train_batch", &train, py::arg("first"), py::arg("input"), py::arg("images"), py::arg("labels"),
           py::arg("logits"), py::arg("label_smoothing"), py::arg("skip_above"), py::arg("drop"), py::arg("finish"),
           py::arg("learned") = 0)
      .def("prepare_replay", &Trainer::prepare_replay, py::arg("share"), py::call_guard<py::gil_scoped_release>())
      .def("replayed", &Trainer::replayed)
      .def("finish_step", &Trainer::finish_step, py::arg("share") = 1.0, py::call_guard<py::gil_scoped_release>());
  py::class_<RuleGroup>(m, "RuleGroup", py::is_final())
      .def(py::init(&make_group), py::arg("trainer"), py::arg("places"), py::keep_alive<1, 2>())
      .def(
          "set",
          [](RuleGroup& group, double rate, double weight_decay, double momentum, bool normalise) {
            group.set({true, rate, weight_decay, momentum, normalise});
          },
          py::arg("rate"), py::arg("weight_decay"), py::arg("momentum"), py::arg("normalise"));
}

}  // namespace

void bind_trainers(py::module_& m) {
  py::enum_<Sampling>(m, "Sampling")
      .value("uniform", Sampling::uniform)
      .value("cyclic", Sampling::cyclic)
      .value("weighted", Sampling::weighted)
      .value("largest", Sampling::largest)
      .value("fixed", Sampling::fixed);
  bind_rules(m);
  bind_trainer(m);
}

}  // namespace sparsebp
