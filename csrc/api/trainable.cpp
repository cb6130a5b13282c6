#include "api/trainable.h"

#include <algorithm>
#include <cmath>

namespace sparsebp {
namespace {

float* stored(const PlanFile& file, const TrainablePiece& piece) {
  return reinterpret_cast<float*>(file.tensor(file.header().at(piece.name)));
}

// Of a piece that is drawn, where its numbers lie: body(first number in the file, first number in the piece, count).
template <class Body>
void each_row(const Session& session, const TrainablePiece& piece, const Body& body) {
  const ConvShape& shape = session.spec().layers[piece.layer].shape;
  const auto channels = session.program().indices(static_cast<int>(piece.layer));
  const Index run = shape.out_per_group(), sets = static_cast<Index>(channels.size());
  for (Index j = 0; j < sets; ++j) {
    Index tap = 0;
    each_run(shape, channels[static_cast<std::size_t>(j)],
             [&](Index first, Index count) { body(first, (tap++ * sets + j) * run, count); });
  }
}

}  // namespace

Index TrainablePiece::count() const {
  Index product = 1;
  for (const Index size : shape) product *= size;
  return product;
}

std::vector<TrainablePiece> trainable_pieces(const PlanFile& file, const Session& session) {
  std::vector<TrainablePiece> drawn, always;
  const ProgramSpec& spec = session.spec();
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    const ConvShape& s = layer.shape;
    const LayerTensors& names = file.plan().tensors[i];
    const LayerRule& rule = session.recipe().rules[i];
    if (layer.trains_weight() && rule.weight.trains) {
      if (layer.selected < s.in) {
        drawn.push_back({names.weight, {s.kernel_h, s.kernel_w, layer.selected, s.out_per_group()}, true, i});
      } else {
        always.push_back({names.weight, {s.kernel_h, s.kernel_w, s.in_per_group(), s.out}, false, i});
      }
    }
    if (!layer.trains_bias()) continue;
    if (rule.bias.trains && !names.bias.empty()) always.push_back({names.bias, {s.out}, false, i});
    if (rule.shift.trains && !names.beta.empty()) always.push_back({names.beta, {s.out}, false, i});
  }
  drawn.insert(drawn.end(), always.begin(), always.end());
  return drawn;
}

Index trainable_count(const PlanFile& file, const Session& session) {
  Index count = 0;
  for (const TrainablePiece& piece : trainable_pieces(file, session)) count += piece.count();
  return count;
}

void read_trainable(const PlanFile& file, const Session& session, float* out) {
  for (const TrainablePiece& piece : trainable_pieces(file, session)) {
    const float* from = stored(file, piece);
    if (piece.drawn) {
      each_row(session, piece, [&](Index at, Index to, Index count) { std::copy_n(from + at, count, out + to); });
    } else {
      std::copy_n(from, piece.count(), out);
    }
    out += piece.count();
  }
}

void write_trainable(const PlanFile& file, const Session& session, const float* in) {
  const auto pieces = trainable_pieces(file, session);
  const float* at = in;
  for (const TrainablePiece& piece : pieces) {
    for (const float* end = at + piece.count(); at != end; ++at) {
      if (!std::isfinite(*at))
        throw InvalidArgument("values: expected finite numbers, got one of " + piece.name + " that is none");
    }
  }
  for (const TrainablePiece& piece : pieces) {
    float* to = stored(file, piece);
    if (piece.drawn) {
      each_row(session, piece,
               [&](Index first, Index from, Index count) { std::copy_n(in + from, count, to + first); });
    } else {
      std::copy_n(in, piece.count(), to);
    }
    in += piece.count();
  }
}

}  // namespace sparsebp
