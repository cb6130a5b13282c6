// The Python module sparsebp._C. Pointers cross as integers with the shapes agreed in the spec; the Python side
// (sparsebp.training) checks dtype, device and layout before it passes them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings/classes.h"
#include "core/error.h"
#include "cuda/device.h"
#include "isa/dispatch.h"
#include "isa/peak.h"
#include "platform/memory.h"
#include "platform/parallel.h"
#include "program/program.h"
#include "sparsebp/sparsebp.h"

namespace py = pybind11;
using namespace sparsebp;

namespace {

using Address = std::uintptr_t;

template <class P = void*>
P pointer(Address address) {
  return reinterpret_cast<P>(address);
}

py::list layout_buffers(const Layout& layout) {
  py::list out;
  for (const Buffer& b : layout.buffers()) {
    py::dict row;
    row["name"] = b.name;
    row["op"] = b.purpose.op;
    row["layer"] = b.purpose.layer;
    row["role"] = b.purpose.role;
    row["category"] = category_name(b.category);
    row["bytes"] = b.bytes;
    row["offset"] = b.offset;
    row["begin"] = b.begin;
    row["end"] = b.end;
    out.append(row);
  }
  return out;
}

py::dict arena_held(const Arena& arena, bool peak) {
  py::dict out;
  for (int i = 0; i < kCategories; ++i) {
    const auto category = static_cast<Category>(i);
    out[category_name(category)] = peak ? arena.held_peak(category) : arena.held(category);
  }
  return out;
}

Arena& require_arena(Arena* arena) {
  if (arena == nullptr) throw WrongState("program: allocate was not called");
  return *arena;
}

void bind_arena(py::module_& m) {
  py::class_<Arena>(m, "Arena", py::is_final())
      .def_property_readonly("capacity", &Arena::capacity)
      .def_property_readonly("used", &Arena::used)
      .def_property_readonly("peak", &Arena::peak)
      .def_property_readonly("held", [](const Arena& arena) { return arena_held(arena, false); })
      .def_property_readonly("held_peak", [](const Arena& arena) { return arena_held(arena, true); })
      .def_property_readonly("address", [](Arena& arena) { return reinterpret_cast<Address>(arena.data()); });
}

// `gpu` is the number of a CUDA device; none is this processor.
std::unique_ptr<AnyProgram> program_on(ProgramSpec spec, bool float64, const std::string& isa, std::optional<int> gpu) {
  if (!gpu) return make_program(std::move(spec), float64, isa);
  if (float64) throw InvalidArgument("float64: GPUs train float32 networks only");
  return make_program(std::move(spec), cuda::make_device(*gpu));
}

// The persistent region that begins at `offset`.
Region region_at(const AnyProgram& program, std::size_t offset) {
  for (const auto& region : program.persistent()) {
    if (region.offset == offset) return region;
  }
  throw InvalidArgument("offset: no persistent region begins at " + std::to_string(offset));
}

void bind_program(py::module_& m) {
  py::class_<AnyProgram>(m, "Program", py::is_final())
      .def(py::init(&program_on), py::arg("spec"), py::arg("float64") = false, py::arg("isa") = "",
           py::arg("gpu") = py::none())
      .def_property_readonly("isa", &AnyProgram::isa)
      .def_property_readonly("training_peak", [](const AnyProgram& p) { return p.training_layout().peak(); })
      .def_property_readonly("workspace_peak", [](const AnyProgram& p) { return p.workspace_layout().peak(); })
      .def("training_buffers", [](const AnyProgram& p) { return layout_buffers(p.training_layout()); })
      .def("workspace_buffers", [](const AnyProgram& p) { return layout_buffers(p.workspace_layout()); })
      .def("set_stream", &AnyProgram::set_stream, py::arg("stream"))
      .def("allocate", &AnyProgram::allocate, py::arg("budget"))
      .def_property_readonly(
          "arena", [](AnyProgram& p) -> Arena& { return require_arena(p.arena()); },
          py::return_value_policy::reference_internal)
      .def_property_readonly(
          "workspace", [](AnyProgram& p) -> Arena& { return require_arena(p.workspace()); },
          py::return_value_policy::reference_internal)
      .def(
          "bind",
          [](AnyProgram& p, int layer, Address weight, Address bias, Address gamma, Address beta, Address mean,
             Address var) {
            p.bind(layer, {pointer(weight), pointer(bias), pointer(gamma), pointer(beta), pointer(mean), pointer(var)});
          },
          py::arg("layer"), py::arg("weight"), py::arg("bias") = 0, py::arg("gamma") = 0, py::arg("beta") = 0,
          py::arg("mean") = 0, py::arg("var") = 0)
      .def(
          "forward",
          [](AnyProgram& p, int first, int last, Address in, Address out, Index images, bool save, bool drop,
             std::uint64_t dropout_key) {
            py::gil_scoped_release release;
            p.forward(first, last, pointer<const void*>(in), pointer(out), images, save, drop, dropout_key);
          },
          py::arg("first"), py::arg("last"), py::arg("input"), py::arg("output"), py::arg("images"), py::arg("save"),
          py::arg("drop") = false, py::arg("dropout_key") = 0)
      .def(
          "backward",
          [](AnyProgram& p, Address dy, Address dx, const std::vector<LayerRule>& rules, bool keep) {
            py::gil_scoped_release release;
            p.backward(pointer<const void*>(dy), pointer(dx), rules, keep);
          },
          py::arg("output_grad"), py::arg("input_grad"), py::arg("rules"), py::arg("keep") = false)
      .def(
          "apply",
          [](AnyProgram& p, const std::vector<LayerRule>& rules) {
            py::gil_scoped_release release;
            p.apply(rules);
          },
          py::arg("rules"))
      .def(
          "prepare_replay",
          [](AnyProgram& p, const std::vector<LayerRule>& rules, std::uint64_t dropout_key) {
            py::gil_scoped_release release;
            p.prepare_replay(rules, dropout_key);
          },
          py::arg("rules"), py::arg("dropout_key"))
      .def("replayed", &AnyProgram::replayed)
      .def_property_readonly("spoilt", &AnyProgram::spoilt)
      .def("discard", &AnyProgram::discard)
      .def_property_readonly("in_flight", &AnyProgram::in_flight)
      .def("draw", &AnyProgram::draw, py::arg("layer"), py::arg("method"), py::arg("seed"), py::arg("turn"))
      .def("draw_all", &AnyProgram::draw_all, py::arg("method"), py::arg("seed"), py::arg("turn"),
           py::call_guard<py::gil_scoped_release>())
      .def("set_indices", &AnyProgram::set_indices, py::arg("layer"), py::arg("channels"))
      .def("indices", &AnyProgram::indices, py::arg("layer"))
      .def("visited", &AnyProgram::visited, py::arg("layer"))
      .def("persistent",
           [](const AnyProgram& p) {
             py::list out;
             for (const auto& r : p.persistent()) out.append(py::make_tuple(r.name, r.offset, r.bytes));
             return out;
           })
      .def(
          "read",
          [](AnyProgram& p, std::size_t offset) {
            const auto region = region_at(p, offset);
            std::string bytes(region.bytes, '\0');
            p.read(region, bytes.data());
            return py::bytes(bytes);
          },
          py::arg("offset"))
      .def(
          "write",
          [](AnyProgram& p, std::size_t offset, const py::bytes& data) {
            const auto region = region_at(p, offset);
            const auto bytes = static_cast<std::string_view>(data);
            if (bytes.size() != region.bytes) {
              throw InvalidArgument("data: expected " + std::to_string(region.bytes) + " bytes, got " +
                                    std::to_string(bytes.size()));
            }
            p.write(region, bytes.data());
          },
          py::arg("offset"), py::arg("data"))
      .def(
          "sum_region",
          [](const AnyProgram& p, int layer, const std::string& parameter) {
            const auto region = p.sum_region(layer, parameter);
            return py::make_tuple(region.offset, region.bytes);
          },
          py::arg("layer"), py::arg("parameter"));
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native core of sparsebp: the arena, the kernels and the program executor.";
  register_errors(m);
  bind_specs(m);
  bind_trainers(m);
  bind_arena(m);
  bind_program(m);
  bind_sessions(m);
  bind_records(m);
  forbid_bare_new(m);
  m.attr("__version__") = sbp_version();
  m.attr("PANEL") = kPanel;
  m.def("usable_isas", &usable_isas, "Instruction sets that this build has and this processor supports, best first.");
  m.def(
      "chosen_isa", [] { return std::string(choose_isa().name); }, "The instruction set that will be used.");
  m.def(
      "fma_peak",
      [] {
        py::gil_scoped_release release;
        return fma_peak(choose_isa());
      },
      "10^9 float32 operations a second that the multiply-add units do at best, on all threads.");
  m.attr("CUDA_BUILD") = cuda::build();
  m.def(
      "cuda_devices",
      [] {
        std::string why;
        const int count = cuda::device_count(&why);
        return py::make_tuple(count, why);
      },
      "How many GPUs programs can run on and, with none, why.");
  m.def("thread_count", &thread_count);
  m.def("thread_pool_name", &thread_pool_name);
  m.def("release_free_memory", &release_free_memory, "Gives pages back to the system that were freed.");
  m.def("set_plain_threads", &set_plain_threads, py::arg("threads"));
}
