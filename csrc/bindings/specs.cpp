// The plain data that a planner fills, see spec/program_spec.h, and the names of kinds.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/classes.h"
#include "core/draw.h"
#include "spec/program_spec.h"

namespace sparsebp {

namespace py = pybind11;

void bind_specs(py::module_& m) {
  py::class_<ConvShape>(m, "ConvShape", py::is_final())
      .def(py::init<>())
#define FIELD(name) .def_readwrite(#name, &ConvShape::name)
          FIELD(in) FIELD(out) FIELD(groups) FIELD(height) FIELD(width) FIELD(out_height) FIELD(out_width)
              FIELD(kernel_h) FIELD(kernel_w) FIELD(stride_h) FIELD(stride_w) FIELD(pad_h) FIELD(pad_w)
                  FIELD(dilation_h) FIELD(dilation_w)
#undef FIELD
      ;
  py::enum_<Activation>(m, "Activation")
      .value("identity", Activation::identity)
      .value("relu", Activation::relu)
      .value("relu6", Activation::relu6)
      .value("leaky_relu", Activation::leaky_relu)
      .value("clip", Activation::clip)
      .value("hardsigmoid", Activation::hardsigmoid)
      .value("hardswish", Activation::hardswish)
      .value("sigmoid", Activation::sigmoid)
      .value("silu", Activation::silu)
      .value("gelu", Activation::gelu)
      .value("gelu_tanh", Activation::gelu_tanh)
      .value("tanh", Activation::tanh)
      .value("elu", Activation::elu)
      .value("softplus", Activation::softplus)
      .value("mish", Activation::mish);
  py::enum_<OpKind>(m, "OpKind")
      .value("conv", OpKind::conv)
      .value("depthwise", OpKind::depthwise)
      .value("block", OpKind::block)
      .value("head", OpKind::head)
      .value("add", OpKind::add)
      .value("activation", OpKind::activation)
      .value("pool", OpKind::pool)
      .value("dropout", OpKind::dropout)
      .value("max_pool", OpKind::max_pool)
      .value("adaptive_pool", OpKind::adaptive_pool)
      .value("affine", OpKind::affine)
      .value("multiply", OpKind::multiply)
      .value("concat", OpKind::concat)
      .value("channels", OpKind::channels)
      .value("reshape", OpKind::reshape)
      .value("resize", OpKind::resize)
      .value("conv_transpose", OpKind::conv_transpose)
      .value("norm", OpKind::norm)
      .value("group_norm", OpKind::group_norm)
      .value("layer_norm", OpKind::layer_norm)
      .value("prelu", OpKind::prelu)
      .value("softmax", OpKind::softmax)
      .value("zeros", OpKind::zeros)
      .value("gated", OpKind::gated)
      .value("gather", OpKind::gather)
      .value("channel_pool", OpKind::channel_pool);
  py::enum_<Reduction>(m, "Reduction")
      .value("mean", Reduction::mean)
      .value("first_largest", Reduction::first_largest)
      .value("all_largest", Reduction::all_largest);
  py::enum_<DropUnit>(m, "DropUnit")
      .value("element", DropUnit::element)
      .value("channel", DropUnit::channel)
      .value("image", DropUnit::image);
  py::enum_<LayerKind>(m, "LayerKind")
      .value("convolution", LayerKind::convolution)
      .value("transposed", LayerKind::transposed)
      .value("channelwise", LayerKind::channelwise);
  py::enum_<Resampling>(m, "Resampling")
      .value("nearest", Resampling::nearest)
      .value("linear", Resampling::linear)
      .value("linear_corners", Resampling::linear_corners);
  m.def("is_curve", &is_curve, py::arg("activation"));
  py::enum_<Draw>(m, "Draw")
      .value("uniform", Draw::uniform)
      .value("cyclic", Draw::cyclic)
      .value("weighted", Draw::weighted)
      .value("largest", Draw::largest);
  py::class_<ValueSpec>(m, "ValueSpec", py::is_final())
      .def(py::init<Index, Index, Index>(), py::arg("height"), py::arg("width"), py::arg("channels"))
      .def_readonly("height", &ValueSpec::height)
      .def_readonly("width", &ValueSpec::width)
      .def_readonly("channels", &ValueSpec::channels);
  py::class_<LayerSpec>(m, "LayerSpec", py::is_final())
      .def(py::init<>())
#define FIELD(name) .def_readwrite(#name, &LayerSpec::name)
          FIELD(name) FIELD(shape) FIELD(activation) FIELD(has_bias) FIELD(has_norm) FIELD(eps) FIELD(selected)
              FIELD(train_bias) FIELD(kind) FIELD(shared)
#undef FIELD
      ;
  py::enum_<Keep>(m, "Keep").value("masks", Keep::masks).value("input", Keep::input).value("input8", Keep::input8);
  py::class_<OpSpec>(m, "OpSpec", py::is_final())
      .def(py::init<>())
#define FIELD(name) .def_readwrite(#name, &OpSpec::name)
          FIELD(kind) FIELD(inputs) FIELD(output) FIELD(layers) FIELD(residual) FIELD(block) FIELD(activation)
              FIELD(window) FIELD(count_padding) FIELD(drop) FIELD(forward_rows) FIELD(forward_block) FIELD(keep)
                  FIELD(alpha) FIELD(beta) FIELD(groups) FIELD(bits) FIELD(resampling) FIELD(map) FIELD(drop_unit)
                      FIELD(top) FIELD(left) FIELD(reduction) FIELD(scale_h) FIELD(scale_w)
#undef FIELD
      ;
  py::enum_<Scope>(m, "Scope").value("training", Scope::training).value("step", Scope::step);
  py::class_<StreamSpec>(m, "StreamSpec", py::is_final())
      .def(py::init<int, int>(), py::arg("first"), py::arg("last"))
      .def_readonly("first", &StreamSpec::first)
      .def_readonly("last", &StreamSpec::last);
  py::class_<ProgramSpec>(m, "ProgramSpec", py::is_final())
      .def(py::init<>())
#define FIELD(name) .def_readwrite(#name, &ProgramSpec::name)
          FIELD(values) FIELD(layers) FIELD(ops) FIELD(input) FIELD(output) FIELD(span_begin) FIELD(batch)
              FIELD(input_grad) FIELD(momentum) FIELD(sums) FIELD(scores) FIELD(normalise) FIELD(loss) FIELD(scope)
                  FIELD(pictures) FIELD(streams)
#undef FIELD
      ;
}

}  // namespace sparsebp
