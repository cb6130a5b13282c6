// Which weights a session has trained since a moment, without keeping a byte for it in the arena.
#pragma once

#include <cstdint>
#include <vector>

#include "training/session.h"

namespace sparsebp {

// A moment to which later ones are compared.
struct Moment {
  Progress progress;
  bool drawn = false;  // the update sets of then were those that seed and turn draw, and not somebody's own
  Index classes = 0;
};

Moment moment_of(Session& session);

// Has anything trained since?
bool trained_since(const Session& session, const Moment& then);

// Layer by layer the input channels whose weights may have changed since, ascending. Uniform and cyclic draws are pure
// functions of seed, layer and turn, so those from then to now are drawn once more; other draws also depend on what was
// trained, and then it is every channel that was ever visited.
std::vector<std::vector<std::int32_t>> channels_since(Session& session, const Moment& then);

// Where in the weight tensor the weights of one tap begin that read an input channel: shape.out_per_group() neighbours.
inline Index run_begin(const ConvShape& shape, Index channel, Index tap) {
  const Index rows = shape.in_per_group();
  return (tap * rows + channel % rows) * shape.out + channel / rows * shape.out_per_group();
}

// The weights that read one input channel, as runs of neighbouring numbers of the weight tensor: body(first, count).
template <class Body>
void each_run(const ConvShape& shape, Index channel, const Body& body) {
  for (Index tap = 0; tap < shape.taps(); ++tap) body(run_begin(shape, channel, tap), shape.out_per_group());
}

}  // namespace sparsebp
