// Ops without layers: curves, softmax, products, moves, other sides.
#include <algorithm>

#include "maker.h"

namespace fuzz {

using namespace sparsebp;

void Maker::add_op_without_layers() {
  const int from = last_id();
  const ValueSpec v = last();
  switch (choices_.below(13)) {
    case 0:
    case 1:
      return add_curve();
    case 2:
      return add_pool(OpKind::max_pool);
    case 3:
      return add_concat();
    case 4:
      return add_map(OpKind::channels);
    case 5:
      return add_map(OpKind::gather);
    case 6: {
      const bool flat = !huge_ && choices_.flag();  // what is huge has more numbers than can be counted
      push(OpKind::reshape, {from}, {}, flat ? ValueSpec{1, 1, v.count()} : ValueSpec{v.width, v.channels, v.height});
      return;
    }
    case 7:
      return add_zeros();
    case 8:
      return add_resize();
    case 9:
      push(OpKind::multiply, {from, another(true)}, {}, v);
      return;
    case 10:
      push(OpKind::affine, {from}, {}, v).alpha = 0.5;
      spec_.ops.back().beta = 0.25;
      return;
    case 11:
      push(OpKind::softmax, {from}, {}, v);
      return;
    default:
      push(OpKind::channel_pool, {from}, {}, {v.height, v.width, 1}).reduction =
          static_cast<Reduction>(choices_.below(3));
  }
}

// In some bits, or not.
void Maker::add_curve() {
  const int from = last_id();
  OpSpec& op = push(OpKind::activation, {from}, {}, last());
  op.activation = static_cast<Activation>(choices_.below(kActivations));
  op.alpha = 0.7, op.beta = op.activation == Activation::clip ? -0.4 : 0;
  if (choices_.flag()) op.bits = static_cast<int>(choices_.from(2, 8));
}

void Maker::add_concat() {
  const ValueSpec v = last();
  std::vector<int> parts = {last_id()};
  Index channels = v.channels;
  for (int id = 0; id <= last_id() && parts.size() < 4; ++id) {
    const ValueSpec& o = spec_.values[static_cast<std::size_t>(id)];
    if (o.height != v.height || o.width != v.width || o.channels > 100 || !choices_.flag()) continue;
    parts.push_back(id), channels += o.channels;
  }
  push(OpKind::concat, parts, {}, {v.height, v.width, channels});
}

// Some numbers several times, some never.
void Maker::add_map(OpKind kind) {
  const int from = last_id();
  const ValueSpec v = last();
  const Index most = std::min<Index>(kind == OpKind::channels ? v.channels : v.height, 200);
  ValueSpec out{choices_.from(1, 4), choices_.from(1, 4), choices_.from(1, 20)};
  if (kind == OpKind::channels) out.height = v.height, out.width = v.width;
  OpSpec& op = push(kind, {from}, {}, out);
  const Index places = kind == OpKind::channels ? out.channels : out.count();
  for (Index j = 0; j < places; ++j) op.map.push_back(static_cast<int>(choices_.below(most)));
}

void Maker::add_zeros() {
  const int from = last_id();
  ValueSpec out = last();
  const Index top = choices_.below(3), left = choices_.below(3);
  out.height += top + choices_.below(3), out.width += left + choices_.below(3);
  OpSpec& op = push(OpKind::zeros, {from}, {}, out);
  op.top = top, op.left = left;
}

void Maker::add_resize() {
  const int from = last_id();
  const ValueSpec out{choices_.from(1, 12), choices_.from(1, 12), last().channels};
  if (choices_.flag()) {
    push(OpKind::adaptive_pool, {from}, {}, out);
    return;
  }
  OpSpec& op = push(OpKind::resize, {from}, {}, out);
  op.resampling = static_cast<Resampling>(choices_.below(3));
  if (choices_.flag()) op.scale_h = 0.25 * static_cast<double>(choices_.from(1, 12)), op.scale_w = 1.5;
}

int Maker::another(bool spreads) {
  const ValueSpec v = last();
  const auto fits = [spreads](Index own, Index other) { return other == own || (spreads && other == 1); };
  int found = last_id();
  for (int id = 0; id < last_id(); ++id) {
    const ValueSpec& o = spec_.values[static_cast<std::size_t>(id)];
    const bool beside = fits(v.height, o.height) && fits(v.width, o.width) && fits(v.channels, o.channels);
    if (beside && choices_.flag()) found = id;
  }
  return found;
}

}  // namespace fuzz
