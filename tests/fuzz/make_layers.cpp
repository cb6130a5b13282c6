// Ops with layers beside convolutions and blocks: transposed ones, norms and slopes, blocks of any activations.
#include <algorithm>

#include "maker.h"

namespace fuzz {

using namespace sparsebp;

void Maker::add_op_with_layer() {
  constexpr OpKind kChannelwise[] = {OpKind::norm, OpKind::group_norm, OpKind::layer_norm, OpKind::prelu};
  switch (choices_.below(3)) {
    case 0:
      return add_transposed();
    case 1:
      return add_gated();
    default:
      return add_channelwise(choices_.of(kChannelwise));
  }
}

void Maker::add_transposed() {
  const int from = last_id();
  ConvShape s = shape_of(last());
  s.kernel_h = choices_.from(1, 4), s.kernel_w = choices_.from(1, 4);
  s.stride_h = choices_.from(1, 3), s.stride_w = choices_.from(1, 3);
  s.dilation_h = s.dilation_w = choices_.from(1, 2);
  const Index reach_h = s.dilation_h * (s.kernel_h - 1) + 1, reach_w = s.dilation_w * (s.kernel_w - 1) + 1;
  s.pad_h = choices_.below((reach_h + 1) / 2), s.pad_w = choices_.below((reach_w + 1) / 2);
  s.out_height = (s.height - 1) * s.stride_h - 2 * s.pad_h + reach_h + choices_.below(s.stride_h);
  s.out_width = (s.width - 1) * s.stride_w - 2 * s.pad_w + reach_w + choices_.below(s.stride_w);
  if (choices_.rarely(3) && !huge_) s.groups = s.in;
  s.out = s.groups * choices_.from(1, s.groups > 1 ? 3 : 40);
  const int layer = add_layer(s);
  spec_.layers.back().kind = LayerKind::transposed;
  push(OpKind::conv_transpose, {from}, {layer}, output_of(s));
}

void Maker::add_channelwise(OpKind kind) {
  const int from = last_id();
  const ValueSpec v = last();
  ConvShape s = shape_of(v);
  s.groups = s.in;
  const int index = add_layer(s, kind == OpKind::prelu ? Applies::nothing : Applies::a_clamp);
  LayerSpec& layer = spec_.layers.back();
  layer.kind = LayerKind::channelwise, layer.selected = 0;
  layer.has_norm = layer.has_norm && kind == OpKind::norm;
  if (choices_.rarely(4)) layer.shared = true, layer.has_norm = layer.train_bias = false;
  OpSpec& op = push(kind, {from}, {index}, v);
  if (kind == OpKind::group_norm) {
    op.groups = choices_.from(1, std::min<Index>(v.channels, 16));
    while (v.channels % op.groups != 0) --op.groups;
  }
}

void Maker::add_gated() {
  const int from = last_id();
  const ValueSpec v = last();
  std::vector<int> layers;
  ConvShape wide = shape_of(v);
  if (choices_.flag()) {
    wide.out = choices_.from(1, 70);
    layers.push_back(add_layer(wide, Applies::anything));
  }
  ConvShape filter = shape_of({v.height, v.width, wide.out});
  set_window(filter, choices_, false);
  filter.groups = filter.in;
  layers.push_back(add_layer(filter, Applies::anything));
  if (choices_.flag()) {
    ConvShape reduce = shape_of({1, 1, filter.out}), restore = reduce;
    reduce.out = restore.in = choices_.from(1, 12);
    for (const ConvShape& s : {reduce, restore}) {
      layers.push_back(add_layer(s, Applies::anything));
      spec_.layers.back().has_norm = false;
    }
  }
  ConvShape project = shape_of(output_of(filter));
  project.out = choices_.flag() ? v.channels : choices_.from(1, 40);
  layers.push_back(add_layer(project, Applies::nothing));
  const ValueSpec out = output_of(project);
  const bool same = out.height == v.height && out.width == v.width && out.channels == v.channels;
  push(OpKind::gated, {from}, layers, out).residual = same && choices_.flag();
}

}  // namespace fuzz
