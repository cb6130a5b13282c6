#include <algorithm>

#include "maker.h"

namespace fuzz {

using namespace sparsebp;

namespace {

constexpr Activation kClamps[] = {Activation::identity, Activation::relu, Activation::relu6};

// Products of these reach what a number can hold, and each is small enough to be laid out at once.
constexpr Index kHuge[] = {1, 3, 40, 1 << 12, 1 << 16, 1 << 20};
constexpr Index kMostHuge[] = {1, 1 << 16, 1 << 24, 1 << 30, (Index{1} << 31) - 1};

// One direction of a window that fits `size`.
struct Axis {
  Index out, kernel, stride, pad, dilation;
};

Axis window_axis(Choices& choices, Index size, bool pools) {
  Axis a{};
  a.kernel = choices.from(1, 5), a.stride = choices.from(1, 3);
  a.dilation = pools ? 1 : choices.from(1, 2);
  a.pad = pools ? choices.from(0, a.kernel / 2) : choices.from(0, 3);
  if (choices.rarely(4)) a.kernel = 3, a.stride = choices.from(1, 2), a.dilation = 1, a.pad = 1;  // fast paths
  const Index reach = a.dilation * (a.kernel - 1) + 1;
  if (!pools && choices.rarely(6)) {
    a.stride = 1, a.pad = (reach - 1) / 2, a.out = size;  // "same"
    return a;
  }
  if (reach > size + 2 * a.pad) a = {0, 1, a.stride, 0, 1};
  a.out = (size + 2 * a.pad - a.dilation * (a.kernel - 1) - 1) / a.stride + 1;
  return a;
}

// Two taps that are two pixels apart, where the image has as many.
void set_gaps(ConvShape& s) {
  if (s.height < 3 || s.width < 3) return;
  s.kernel_h = s.kernel_w = s.dilation_h = s.dilation_w = 2, s.pad_h = s.pad_w = 1;
  s.out_height = (s.height - 1) / s.stride_h + 1, s.out_width = (s.width - 1) / s.stride_w + 1;
}

}  // namespace

void set_window(ConvShape& s, Choices& choices, bool pools) {
  const Axis rows = window_axis(choices, s.height, pools), columns = window_axis(choices, s.width, pools);
  s.out_height = rows.out, s.kernel_h = rows.kernel, s.stride_h = rows.stride, s.pad_h = rows.pad;
  s.out_width = columns.out, s.kernel_w = columns.kernel, s.stride_w = columns.stride, s.pad_w = columns.pad;
  s.dilation_h = rows.dilation, s.dilation_w = columns.dilation;
}

ValueSpec output_of(const ConvShape& s) { return {s.out_height, s.out_width, s.out}; }

Made Maker::make() {
  huge_ = choices_.rarely(16);
  spec_.values = {first_value()};
  const Index ops = choices_.from(1, 5);
  for (Index i = 0; i < ops; ++i) add_op();
  spec_.output = spec_.ops.back().output;
  spec_.span_begin = static_cast<int>(choices_.below(ops));
  spec_.batch = huge_ ? choices_.of(kMostHuge) : choices_.from(1, 3);
  const std::uint8_t flags = choices_.byte();
  spec_.momentum = (flags & 1) != 0, spec_.sums = (flags & 2) != 0, spec_.scores = (flags & 4) != 0;
  spec_.normalise = (flags & 8) != 0, spec_.input_grad = (flags & 16) != 0;
  spec_.loss = (flags & 32) != 0;
  if ((flags & 64) != 0) make_pieces(spec_, choices_);
  return {spec_, huge_};
}

// Rarely large enough for a block to run in strips.
ValueSpec Maker::first_value() {
  if (huge_) return {choices_.of(kHuge), choices_.of(kMostHuge), choices_.of(kMostHuge)};
  if (choices_.rarely(32)) return {choices_.from(50, 80), choices_.from(50, 80), choices_.from(8, 24)};
  return {choices_.from(1, 9), choices_.from(1, 9), choices_.from(1, 40)};
}

// With what a layer has besides its shape.
int Maker::add_layer(const ConvShape& shape, Applies applies) {
  LayerSpec layer;
  layer.name = "layer" + std::to_string(spec_.layers.size());
  layer.shape = shape;
  const std::uint8_t flags = choices_.byte();
  layer.has_norm = (flags & 1) != 0, layer.has_bias = (flags & 2) != 0, layer.train_bias = (flags & 4) != 0;
  layer.eps = layer.has_norm ? 1e-5 : 0;
  if (applies == Applies::a_clamp) layer.activation = choices_.of(kClamps);
  if (applies == Applies::anything) layer.activation = static_cast<Activation>(choices_.below(kActivations));
  layer.selected = (flags & 8) != 0 ? shape.in : std::min(shape.in, choices_.below(shape.in + 1));
  spec_.layers.push_back(layer);
  return static_cast<int>(spec_.layers.size()) - 1;
}

OpSpec& Maker::push(OpKind kind, std::vector<int> inputs, std::vector<int> layers, const ValueSpec& out) {
  OpSpec op;
  op.kind = kind, op.inputs = std::move(inputs), op.layers = std::move(layers);
  op.block = kPanel * choices_.from(1, 4);
  spec_.values.push_back(out);
  op.output = last_id();
  spec_.ops.push_back(op);
  return spec_.ops.back();
}

ConvShape Maker::shape_of(const ValueSpec& v) const {
  ConvShape s;
  s.in = s.out = v.channels;
  s.height = s.out_height = v.height, s.width = s.out_width = v.width;
  return s;
}

void Maker::add_op() {
  const int from = last_id();
  switch (choices_.below(14)) {
    case 0:
    case 1:
      return add_conv(false);
    case 2:
      return add_conv(true);
    case 3:
      return add_filter();
    case 4:
      return add_block();
    case 5:
      return add_head();
    case 6:
      return add_pool(OpKind::pool);
    case 7: {
      OpSpec& op = push(OpKind::dropout, {from}, {}, last());
      op.drop = static_cast<double>(choices_.below(5)) / 4, op.drop_unit = static_cast<DropUnit>(choices_.below(3));
      return;
    }
    case 8:
    case 9: {  // a residual, or a shift that is spread
      const int other = another(true);
      push(OpKind::add, {from, other}, {}, last()).alpha = choices_.flag() ? 1 : -0.5;
      return;
    }
    case 10:
    case 11:
      return add_op_with_layer();
    default:
      return add_op_without_layers();
  }
}

void Maker::add_conv(bool pointwise) {
  const int from = last_id();
  ConvShape s = shape_of(last());
  if (pointwise) {
    s.out = huge_ ? choices_.of(kMostHuge) : choices_.from(1, 70);
  } else {
    set_window(s, choices_, false);
    s.groups = choices_.rarely(3) ? choices_.from(1, last().channels) : 1;
    while (s.in % s.groups != 0) --s.groups;
    s.out = s.groups * choices_.from(1, s.groups > 4 ? 3 : 40);
  }
  const int layer = add_layer(s);
  push(OpKind::conv, {from}, {layer}, output_of(s));
}

void Maker::add_filter() {
  const int from = last_id();
  ConvShape s = shape_of(last());
  set_window(s, choices_, false);
  s.groups = s.in;
  const int layer = add_layer(s);
  push(OpKind::depthwise, {from}, {layer}, output_of(s));
}

void Maker::add_block() {
  const int from = last_id();
  const ValueSpec v = last();
  std::vector<int> layers;
  ConvShape wide = shape_of(v);
  if (choices_.flag()) {
    wide.out = choices_.from(1, 70);
    layers.push_back(add_layer(wide));
  }
  ConvShape filter = shape_of({v.height, v.width, wide.out});
  set_window(filter, choices_, false);
  filter.groups = filter.in;
  layers.push_back(add_layer(filter));
  ConvShape project = shape_of(output_of(filter));
  project.out = choices_.flag() ? v.channels : choices_.from(1, 40);
  layers.push_back(add_layer(project, Applies::nothing));
  const ValueSpec out = output_of(project);
  const bool same = out.height == v.height && out.width == v.width && out.channels == v.channels;
  push(OpKind::block, {from}, layers, out).residual = same && choices_.flag();
}

void Maker::add_head() {
  const int from = last_id();
  ConvShape s = shape_of(last());
  s.out = choices_.from(1, 70);
  const int layer = add_layer(s, choices_.flag() ? Applies::a_clamp : Applies::anything);
  push(OpKind::head, {from}, {layer}, {1, 1, s.out});
}

void Maker::add_pool(OpKind kind) {
  const int from = last_id();
  ConvShape s = shape_of(last());
  set_window(s, choices_, true);
  if (kind == OpKind::max_pool && choices_.rarely(3)) set_gaps(s);
  OpSpec& op = push(kind, {from}, {}, output_of(s));
  op.window = s, op.count_padding = choices_.flag();
}

Made make_spec(Choices& choices) { return Maker(choices).make(); }

double work(const ProgramSpec& spec) {
  double sum = 0;
  for (const LayerSpec& layer : spec.layers) {
    const ConvShape& s = layer.shape;
    sum += static_cast<double>(std::max(s.pixels(), s.out_pixels())) * static_cast<double>(s.weights());
  }
  for (const OpSpec& op : spec.ops) {
    if (op.kind != OpKind::pool && op.kind != OpKind::max_pool) continue;
    sum += static_cast<double>(op.window.out_pixels()) * static_cast<double>(op.window.taps() * op.window.in);
  }
  for (const ValueSpec& value : spec.values) sum += static_cast<double>(value.count());
  return sum * static_cast<double>(spec.batch);
}

}  // namespace fuzz
