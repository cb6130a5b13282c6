// A plan file's plan as plain Python data: numbers, texts, lists and dicts.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/classes.h"
#include "training/session.h"

namespace py = pybind11;

namespace sparsebp {
namespace {

const char* name_of(Activation activation) {
  switch (activation) {
    case Activation::relu:
      return "relu";
    case Activation::relu6:
      return "relu6";
    default:
      return "identity";
  }
}

const char* name_of(OpKind kind) {
  static constexpr const char* kNames[] = {"conv", "depthwise",  "block", "head",
                                           "add",  "activation", "pool",  "dropout"};
  return kNames[static_cast<int>(kind)];
}

// As sparsebp.convert takes them.
const char* name_of(Sampling sampling) {
  static constexpr const char* kNames[] = {"random", "cyclic", "importance", "top-k", "static"};
  return kNames[static_cast<int>(sampling)];
}

const char* name_of(Schedule schedule) {
  static constexpr const char* kNames[] = {"constant", "linear", "cosine"};
  return kNames[static_cast<int>(schedule)];
}

py::object rule_data(const ParameterRule& rule) {
  if (!rule.trains) return py::none();
  py::dict out;
  out["lr"] = rule.rate, out["weight_decay"] = rule.weight_decay, out["momentum"] = rule.momentum;
  out["normalise"] = rule.normalise;
  return out;
}

py::dict layer_data(const LayerSpec& layer, const LayerRule& rule, const std::vector<std::int32_t>& channels) {
  const ConvShape& s = layer.shape;
  py::dict out, rules;
  out["name"] = layer.name;
  out["in"] = s.in, out["out"] = s.out, out["groups"] = s.groups;
  out["kernel"] = py::make_tuple(s.kernel_h, s.kernel_w), out["stride"] = py::make_tuple(s.stride_h, s.stride_w);
  out["input"] = py::make_tuple(s.height, s.width), out["output"] = py::make_tuple(s.out_height, s.out_width);
  out["activation"] = name_of(layer.activation);
  out["selected"] = layer.selected, out["channels"] = channels;
  out["trains_bias"] = layer.trains_bias();
  rules["weight"] = rule_data(rule.weight), rules["bias"] = rule_data(rule.bias);
  rules["shift"] = rule_data(rule.shift);
  out["rules"] = rules;
  return out;
}

py::dict op_data(const ProgramSpec& spec, std::size_t index) {
  const OpSpec& op = spec.ops[index];
  py::list layers;
  for (const int layer : op.layers) layers.append(spec.layers[static_cast<std::size_t>(layer)].name);
  const ValueSpec& value = spec.values[static_cast<std::size_t>(op.output)];
  py::dict out;
  out["kind"] = name_of(op.kind), out["layers"] = layers;
  out["inputs"] = op.inputs, out["output"] = op.output;
  out["shape"] = py::make_tuple(value.height, value.width, value.channels);
  out["in_span"] = static_cast<int>(index) >= spec.span_begin;
  return out;
}

py::dict recipe_data(const Session& session) {
  const Recipe& recipe = session.recipe();
  py::dict out;
  out["sampler"] = name_of(recipe.sampling), out["seed"] = recipe.seed;
  out["resample_every"] = recipe.resample_every;
  out["batch"] = recipe.batch, out["micro_batch"] = session.spec().batch;
  out["gradients"] = session.spec().sums ? "sum" : "in_place";
  out["schedule"] = name_of(recipe.schedule), out["warmup"] = recipe.warmup, out["steps"] = recipe.steps;
  out["label_smoothing"] = recipe.label_smoothing, out["skip_above"] = recipe.skip_above;
  return out;
}

}  // namespace

py::dict plan_data(const Session& session, std::uint64_t budget) {
  const ProgramSpec& spec = session.spec();
  py::list layers, ops;
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const auto channels = session.program().indices(static_cast<int>(i));
    layers.append(layer_data(spec.layers[i], session.recipe().rules[i], channels));
  }
  for (std::size_t i = 0; i < spec.ops.size(); ++i) ops.append(op_data(spec, i));
  py::dict bytes, out;
  bytes["budget"] = budget, bytes["arena"] = session.arena_bytes(), bytes["workspace"] = session.workspace_bytes();
  out["layers"] = layers, out["ops"] = ops, out["bytes"] = bytes, out["recipe"] = recipe_data(session);
  return out;
}

}  // namespace sparsebp
