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

using Context = sparsebp::Context<float>;

inline const float* value(const Context& context, int id) { return context.values[static_cast<std::size_t>(id)]; }
inline float* output(const Context& context, int id) { return context.values[static_cast<std::size_t>(id)]; }
inline float* gradient(const Context& context, int id) { return context.grads[static_cast<std::size_t>(id)]; }

// Of any kind, and of those without weights.
std::unique_ptr<Op<float>> make_op(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                   const Driver& driver);
std::unique_ptr<Op<float>> make_elementwise(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                            const Driver& driver);

}  // namespace sparsebp::cuda
