#include "program/validate.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace sparsebp {
namespace {

void require(bool condition, const std::string& message) {
  if (!condition) throw InvalidArgument(message);
}

void check_shape(const std::string& name, const ConvShape& s) {
  require(s.in > 0 && s.out > 0 && s.height > 0 && s.width > 0 && s.out_height > 0 && s.out_width > 0,
          name + ": every size must be positive");
  require(s.kernel_h > 0 && s.kernel_w > 0 && s.stride_h > 0 && s.stride_w > 0 && s.dilation_h > 0 &&
              s.dilation_w > 0 && s.pad_h >= 0 && s.pad_w >= 0,
          name + ": kernel, stride and dilation must be positive, padding not negative");
  require(s.groups > 0 && s.in % s.groups == 0 && s.out % s.groups == 0,
          name + ": groups must divide the input and the output channels");
}

void check_layer(const LayerSpec& layer) {
  check_shape(layer.name, layer.shape);
  require(layer.selected >= 0 && layer.selected <= layer.shape.in,
          layer.name + ": selected channels must lie between 0 and " + std::to_string(layer.shape.in) + ", got " +
              std::to_string(layer.selected));
}

bool same(const ValueSpec& value, Index height, Index width, Index channels) {
  return value.height == height && value.width == width && value.channels == channels;
}

void check_op(const ProgramSpec& spec, std::size_t index) {
  const OpSpec& op = spec.ops[index];
  const std::string name = "op " + std::to_string(index);
  const auto value = [&](int id) -> const ValueSpec& {
    require(id >= 0 && id < static_cast<int>(spec.values.size()), name + ": no such value");
    return spec.values[static_cast<std::size_t>(id)];
  };
  const auto shape = [&](std::size_t i) -> const ConvShape& {
    require(i < op.layers.size() && op.layers[i] >= 0 && op.layers[i] < static_cast<int>(spec.layers.size()),
            name + ": no such layer");
    return spec.layers[static_cast<std::size_t>(op.layers[i])].shape;
  };
  const auto maps = [&](const ConvShape& in, const ConvShape& out) {
    require(same(value(op.inputs[0]), in.height, in.width, in.in) &&
                same(value(op.output), out.out_height, out.out_width, out.out),
            name + ": the layer's shape does not fit its values");
  };
  const std::size_t inputs = op.kind == OpKind::add ? 2 : 1;
  require(op.inputs.size() == inputs, name + ": expected " + std::to_string(inputs) + " inputs");
  for (int input : op.inputs) value(input);
  require(op.block > 0 && op.block % kPanel == 0,
          name + ": channel blocks must be positive multiples of " + std::to_string(kPanel));
  switch (op.kind) {
    case OpKind::conv:
      maps(shape(0), shape(0));
      break;
    case OpKind::depthwise:
      maps(shape(0), shape(0));
      require(shape(0).groups == shape(0).in && shape(0).in == shape(0).out, name + ": not a depthwise layer");
      break;
    case OpKind::block: {
      require(op.layers.size() == 2 || op.layers.size() == 3, name + ": a block has two or three layers");
      const ConvShape &first = shape(0), &last = shape(op.layers.size() - 1), &dw = shape(op.layers.size() - 2);
      maps(first, last);
      require(dw.groups == dw.in && dw.in == dw.out && last.pointwise() && last.groups == 1 && last.in == dw.out,
              name + ": expected depthwise, then pointwise");
      if (op.layers.size() == 3) {
        require(first.pointwise() && first.groups == 1 && first.out == dw.in,
                name + ": expected a pointwise expansion");
      }
      require(spec.layers[static_cast<std::size_t>(op.layers.back())].activation == Activation::identity,
              name + ": a block's projection has no activation");
      const ValueSpec& out = value(op.output);
      require(!op.residual || same(value(op.inputs[0]), out.height, out.width, out.channels),
              name + ": a residual needs equal shapes");
      break;
    }
    case OpKind::head:
      require(shape(0).pointwise() && shape(0).groups == 1, name + ": a head is a pointwise convolution");
      require(same(value(op.output), 1, 1, shape(0).out), name + ": a head pools to one pixel");
      break;
    case OpKind::pool:
      check_shape(name, op.window);
      require(op.window.in == op.window.out, name + ": pooling keeps the channels");
      maps(op.window, op.window);
      break;
    case OpKind::add:
    case OpKind::activation:
    case OpKind::dropout: {
      const ValueSpec& out = value(op.output);
      for (int input : op.inputs) {
        require(same(value(input), out.height, out.width, out.channels), name + ": shapes must be equal");
      }
      require(op.drop >= 0 && op.drop <= 1, name + ": a dropout probability lies between 0 and 1");
      break;
    }
  }
}

}  // namespace

void validate(const ProgramSpec& spec) {
  require(!spec.ops.empty(), "ops: a program needs at least one");
  require(spec.batch > 0, "batch: expected at least 1, got " + std::to_string(spec.batch));
  require(spec.span_begin >= 0 && spec.span_begin < static_cast<int>(spec.ops.size()), "span_begin: no such op");
  for (const LayerSpec& layer : spec.layers) check_layer(layer);
  std::vector<char> ready(spec.values.size(), 0);
  require(spec.input >= 0 && spec.input < static_cast<int>(ready.size()), "input: no such value");
  ready[static_cast<std::size_t>(spec.input)] = 1;
  std::vector<char> read(spec.values.size(), 0);
  for (std::size_t i = 0; i < spec.ops.size(); ++i) {
    check_op(spec, i);
    for (int input : spec.ops[i].inputs) {
      require(ready[static_cast<std::size_t>(input)] != 0,
              "op " + std::to_string(i) + ": reads a value before it exists");
      read[static_cast<std::size_t>(input)] = 1;
    }
    char& out = ready[static_cast<std::size_t>(spec.ops[i].output)];
    require(out == 0, "op " + std::to_string(i) + ": writes a value twice");
    out = 1;
  }
  require(spec.ops.back().output == spec.output, "output: expected the last op's value");
  for (std::size_t i = 0; i + 1 < spec.ops.size(); ++i) {
    // A value without a reader has no lifetime that a layout could plan for.
    require(read[static_cast<std::size_t>(spec.ops[i].output)] != 0,
            "op " + std::to_string(i) + ": nothing reads its value");
  }
}

void check_channels(const LayerSpec& layer, const std::vector<std::int32_t>& channels) {
  require(static_cast<Index>(channels.size()) == layer.selected,
          layer.name + ": expected " + std::to_string(layer.selected) + " channels, got " +
              std::to_string(channels.size()));
  std::vector<char> seen(static_cast<std::size_t>(layer.shape.in), 0);
  for (std::int32_t c : channels) {
    require(c >= 0 && c < layer.shape.in, layer.name + ": channel " + std::to_string(c) + " is out of range, 0 to " +
                                              std::to_string(layer.shape.in - 1));
    require(seen[static_cast<std::size_t>(c)]++ == 0, layer.name + ": channel " + std::to_string(c) + " appears twice");
  }
}

}  // namespace sparsebp
