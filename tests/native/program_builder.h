// Programs put together op by op.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "program/program.h"

namespace sparsebp {

struct Options {
  bool momentum = false, sums = false, scores = false, input_grad = false;
  int span_begin = 1;
  Draw draw = Draw::uniform;
  Index block = 80;  // wide enough that blocks are worth several threads (kSerialWork)
  Index size = 40;   // of mobilenet's input, a multiple of 4
  bool normalise = false;
};

// Adds values, layers and ops one after the other.
class Builder {
 public:
  explicit Builder(const Options& options, const ValueSpec& input) : options_(options) {
    spec.values = {input};
    spec.batch = 2;
    spec.momentum = options.momentum, spec.sums = options.sums, spec.scores = options.scores;
    spec.normalise = options.normalise;
    spec.input_grad = options.input_grad, spec.span_begin = options.span_begin;
  }

  int layer(Index in, Index out, Index size, Index kernel, Index stride, Index groups, Activation activation,
            Index selected, bool norm = true) {
    LayerSpec layer;
    layer.name = "layer" + std::to_string(spec.layers.size());
    ConvShape& s = layer.shape;
    s.in = in, s.out = out, s.groups = groups, s.height = s.width = size;
    s.kernel_h = s.kernel_w = kernel, s.stride_h = s.stride_w = stride, s.pad_h = s.pad_w = kernel / 2;
    s.out_height = s.out_width = (size + 2 * s.pad_h - kernel) / stride + 1;
    layer.activation = activation;
    layer.has_norm = norm, layer.eps = 1e-5;
    layer.has_bias = !norm || spec.layers.size() % 4 == 2;  // some have both
    layer.selected = selected, layer.train_bias = spec.layers.size() % 3 != 1;
    spec.layers.push_back(layer);
    return static_cast<int>(spec.layers.size()) - 1;
  }

  // Of a norm, a scale and a shift, or slopes on their own. One number for all channels does not train.
  int channelwise(const ValueSpec& v, bool norm, bool bias, Activation activation = Activation::identity,
                  bool shared = false) {
    LayerSpec layer;
    layer.name = "layer" + std::to_string(spec.layers.size());
    layer.kind = LayerKind::channelwise;
    ConvShape& s = layer.shape;
    s.in = s.out = s.groups = v.channels;
    s.height = s.out_height = v.height, s.width = s.out_width = v.width;
    layer.activation = activation, layer.shared = shared;
    layer.has_norm = norm, layer.eps = 1e-5, layer.has_bias = bias;
    layer.train_bias = !shared;
    spec.layers.push_back(layer);
    return static_cast<int>(spec.layers.size()) - 1;
  }

  // A transposed convolution of a square image, whose output is `beyond` rows and columns larger than its windows need.
  int transposed(Index in, Index out, Index size, Index kernel, Index stride, Index pad, Index beyond,
                 Activation activation, Index selected, bool norm = true) {
    const int index = layer(in, out, size, kernel, stride, 1, activation, selected, norm);
    LayerSpec& layer = spec.layers.back();
    layer.kind = LayerKind::transposed;
    ConvShape& s = layer.shape;
    s.pad_h = s.pad_w = pad;
    s.out_height = s.out_width = (size - 1) * stride - 2 * pad + kernel + beyond;
    return index;
  }

  // Appends an op on `inputs`; the program's last value is its output.
  int op(OpKind kind, std::vector<int> inputs, std::vector<int> layers, const ValueSpec& out) {
    OpSpec op;
    op.kind = kind, op.inputs = std::move(inputs), op.layers = std::move(layers);
    op.block = options_.block;
    op.output = static_cast<int>(spec.values.size());
    spec.values.push_back(out);
    spec.ops.push_back(op);
    spec.output = op.output;
    return op.output;
  }

  int conv(int input, int layer, OpKind kind = OpKind::conv) {
    const ConvShape& s = spec.layers[static_cast<std::size_t>(layer)].shape;
    return op(kind, {input}, {layer}, {s.out_height, s.out_width, s.out});
  }

  int block(int input, Index in, Index expansion, Index out, Index size, Index stride, Index selected) {
    const Index wide = in * expansion, half = (size - 1) / stride + 1;
    std::vector<int> layers;
    if (expansion > 1) layers.push_back(layer(in, wide, size, 1, 1, 1, Activation::relu6, std::min(in, selected)));
    layers.push_back(layer(wide, wide, size, 3, stride, wide, Activation::relu6, selected));
    layers.push_back(layer(wide, out, half, 1, 1, 1, Activation::identity, selected));
    const int value = op(OpKind::block, {input}, layers, {half, half, out});
    spec.ops.back().residual = stride == 1 && in == out;
    return value;
  }

  // A kind that has no layers.
  int op(OpKind kind, std::vector<int> inputs, const ValueSpec& out) { return op(kind, std::move(inputs), {}, out); }

  OpSpec& last() { return spec.ops.back(); }

  ProgramSpec spec;

 private:
  Options options_;
};

}  // namespace sparsebp
