// The ops as CUDA runs them. They acquire what the ops of this processor acquire, and start kernels.
#pragma once

#include "cuda/args.h"
#include "program/op.h"

namespace sparsebp::cuda {

// What ops know of the device: its queue, and where the rules of a pass lie.
struct Driver {
  Queue queue;
  Rule* rules = nullptr;  // [layers][3]: weight, bias, shift
  int* spoilt = nullptr;
  std::uint64_t* dropout_key = nullptr;

  Training training(int layer, int which, const MeanSquare* square) const {
    return {rules + 3 * layer + which, square, spoilt};
  }
};

std::unique_ptr<Op<float>> make_op(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                   const Driver& driver);

}  // namespace sparsebp::cuda
