// Programs whose budget covers the whole step.
#pragma once

#include "trained_program.h"

namespace sparsebp {

// How a whole step is cut up. 0: as where nobody decides.
struct Pieces {
  Index rows = 1, block = kPanel;
};

// The same program in one block: its prefix as these streams, everything in pieces.
inline ProgramSpec whole_step(ProgramSpec spec, const std::vector<StreamSpec>& streams, const Pieces& pieces,
                              bool pictures = true) {
  spec.scope = Scope::step, spec.pictures = pictures, spec.streams = streams;
  for (OpSpec& op : spec.ops) {
    const bool block = op.kind == OpKind::block;
    if (block || op.kind == OpKind::conv || op.kind == OpKind::depthwise) op.forward_rows = pieces.rows;
    if (block || op.kind == OpKind::head) op.forward_block = pieces.block;
  }
  return spec;
}

// Calls f(name, spec, streams, options) for both networks with a prefix long enough to stream, in every variant of the
// training state.
template <class F>
void every_streamed_program(F f) {
  every_program([&](const std::string& name, const ProgramSpec&, Options options) {
    options.span_begin = 4, options.input_grad = false;
    f(name + ", streamed", mobilenet(options), std::vector<StreamSpec>{{0, 4}}, options);
    f(name + ", as two streams", mobilenet(options), std::vector<StreamSpec>{{0, 2}, {2, 4}}, options);
    options.span_begin = 6;
    f(name + ", around an addition", resnet(options), std::vector<StreamSpec>{{1, 3}, {4, 6}}, options);
  });
}

// Three steps, with inference between them.
inline std::vector<std::vector<float>> outcome_of(TrainedProgram& trained) {
  for (std::uint64_t turn = 0; turn < 3; ++turn) {
    trained.step(turn);
    trained.infer(1, true);
  }
  return trained.outcome();
}

}  // namespace sparsebp
