// Plan files and sessions in Python. Pixels, labels and logits cross as addresses; sparsebp.runtime checks the arrays.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "api/delta.h"
#include "api/trainable.h"
#include "bindings/classes.h"

namespace py = pybind11;

namespace sparsebp {
namespace {

using Address = std::uintptr_t;

// An opened plan file and the session that trains it.
struct OpenPlan {
  explicit OpenPlan(std::unique_ptr<FileImage> image) : file(std::move(image)), session(file.make_session()) {}
  PlanFile file;
  std::unique_ptr<Session> session;
};

// What images are given as.
enum class Form { numbers, bytes, features };

Images images_of(Address address, Form form) {
  Images images;
  switch (form) {
    case Form::numbers:
      images.numbers = reinterpret_cast<const float*>(address);
      break;
    case Form::bytes:
      images.bytes = reinterpret_cast<const std::uint8_t*>(address);
      break;
    case Form::features:
      images.features = reinterpret_cast<const float*>(address);
  }
  return images;
}

// `train` or `evaluate`: mean loss, images recognised, images that trained something.
template <Step (Session::*call)(const Images&, const std::int32_t*, Index)>
py::tuple on_labelled(OpenPlan& plan, Address images, Form form, Address labels, Index n) {
  Step step;
  {
    py::gil_scoped_release release;
    step = (plan.session.get()->*call)(images_of(images, form), reinterpret_cast<const std::int32_t*>(labels), n);
  }
  return py::make_tuple(step.loss, step.correct, step.trained);
}

// `predict` or `features`.
template <void (Session::*call)(const Images&, Index, float*)>
void on_images(OpenPlan& plan, Address images, Form form, Index n, Address out) {
  py::gil_scoped_release release;
  (plan.session.get()->*call)(images_of(images, form), n, reinterpret_cast<float*>(out));
}

// Name, shape, and whether another turn has other rows, in the order of their numbers.
py::list trainable(const OpenPlan& plan) {
  py::list out;
  for (const TrainablePiece& piece : trainable_pieces(plan.file, *plan.session)) {
    out.append(py::make_tuple(piece.name, py::tuple(py::cast(piece.shape)), piece.drawn));
  }
  return out;
}

// None if the file names none.
std::optional<std::vector<std::string>> class_names(const OpenPlan& plan) {
  const ClassNames& names = plan.file.classes();
  if (!names) return std::nullopt;
  std::vector<std::string> out;
  for (std::size_t i = 0; i < names.count(); ++i) out.emplace_back(names.at(i));
  return out;
}

py::dict sizes(const OpenPlan& plan) {
  const Session& session = *plan.session;
  const ValueSpec& input = session.spec().values[static_cast<std::size_t>(session.spec().input)];
  py::dict out;
  out["arena_bytes"] = session.arena_bytes();
  out["budget_bytes"] = plan.file.plan().budget;
  out["workspace_bytes"] = session.workspace_bytes();
  out["whole_step"] = session.spec().scope == Scope::step;
  out["file_bytes"] = plan.file.bytes();
  out["height"] = input.height, out["width"] = input.width, out["channels"] = input.channels;
  out["classes"] = session.classes();
  out["outputs"] = session.outputs();
  out["micro_batch"] = session.spec().batch;
  out["batch"] = session.recipe().batch;
  out["features"] = session.feature_count();
  return out;
}

void bind_class(py::module_& m) {
  py::enum_<Form>(m, "Form")
      .value("numbers", Form::numbers)
      .value("bytes", Form::bytes)
      .value("features", Form::features);
  py::class_<OpenPlan>(m, "OpenPlan")
      .def(py::init([](const std::string& path) { return std::make_unique<OpenPlan>(map_file(path)); }),
           py::arg("path"))
      .def_static(
          "from_bytes",
          [](const py::bytes& data) {
            const auto view = static_cast<std::string_view>(data);
            return std::make_unique<OpenPlan>(copy_bytes(view.data(), view.size()));
          },
          py::arg("data"))
      .def_property_readonly("sizes", &sizes)
      .def_property_readonly("metadata", [](const OpenPlan& p) { return p.file.header().metadata; })
      .def_property_readonly("classes", &class_names)
      .def(
          "add_class", [](OpenPlan& p, const std::string& name) { return p.file.add_class(*p.session, name); },
          py::arg("name"))
      .def_property_readonly("takes_bytes",
                             [](const OpenPlan& p) { return p.file.header().tensors.count(kTableTensor) != 0; })
      .def_property_readonly("plan", [](const OpenPlan& p) { return plan_data(*p.session, p.file.plan().budget); })
      .def("attach",
           [](OpenPlan& p) {
             p.session->attach(p.file.plan().budget);
             p.file.load(*p.session);
           })
      .def_property_readonly("pictures", [](OpenPlan& p) { return reinterpret_cast<Address>(p.session->pictures()); })
      .def_property_readonly("arena_peak", [](OpenPlan& p) { return p.session->attached().arena()->peak(); })
      .def("train", &on_labelled<&Session::train>, py::arg("images"), py::arg("form"), py::arg("labels"), py::arg("n"))
      .def("evaluate", &on_labelled<&Session::evaluate>, py::arg("images"), py::arg("form"), py::arg("labels"),
           py::arg("n"))
      .def("predict", &on_images<&Session::predict>, py::arg("images"), py::arg("form"), py::arg("n"),
           py::arg("logits"))
      .def("features", &on_images<&Session::features>, py::arg("images"), py::arg("form"), py::arg("n"), py::arg("out"))
      .def(
          "hold", [](OpenPlan& p, std::uint64_t turn) { p.file.hold(*p.session, turn); }, py::arg("turn"))
      .def_property_readonly("trainable", &trainable)
      .def(
          "get_trainable",
          [](const OpenPlan& p, Address out) { read_trainable(p.file, *p.session, reinterpret_cast<float*>(out)); },
          py::arg("out"))
      .def(
          "set_trainable",
          [](OpenPlan& p, Address values) { p.file.set_trainable(*p.session, reinterpret_cast<const float*>(values)); },
          py::arg("values"))
      .def(
          "set_rate", [](OpenPlan& p, double factor) { p.session->set_rate(factor); }, py::arg("factor"))
      .def_property_readonly("rate", [](const OpenPlan& p) { return p.session->rate(); })
      .def_property_readonly("coverage", [](const OpenPlan& p) { return p.session->coverage(); })
      .def_property_readonly("progress",
                             [](const OpenPlan& p) {
                               const Progress& at = p.session->progress();
                               return py::make_tuple(at.batches, at.steps, at.turn, at.forwards, at.due);
                             })
      .def(
          "save",
          [](OpenPlan& p, const std::string& path) {
            py::gil_scoped_release release;
            p.file.save(*p.session, path);
          },
          py::arg("path"))
      .def(
          "save_delta",
          [](OpenPlan& p, const std::string& path) {
            py::gil_scoped_release release;
            p.file.save_delta(*p.session, path);
          },
          py::arg("path"));
}

}  // namespace

void bind_sessions(py::module_& m) {
  bind_class(m);
  m.def("apply_delta", &apply_delta, py::arg("base"), py::arg("delta"), py::arg("out"),
        py::call_guard<py::gil_scoped_release>());
  m.def("make_delta", &make_delta, py::arg("base"), py::arg("new"), py::arg("out"),
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace sparsebp
