// The ops as CUDA runs them. They acquire what the ops of this processor acquire, and start kernels.
#pragma once

#include <vector>

#include "cuda/args.h"
#include "program/op.h"

namespace sparsebp::cuda {

// What ops know of the device: its queue, and where the rules of a pass and the ops' maps lie.
struct Driver {
  Queue queue;
  Rule* rules = nullptr;  // [layers][3]: weight, bias, shift
  int* spoilt = nullptr;
  std::uint64_t* dropout_key = nullptr;
  std::vector<std::int32_t> maps;             // filled while ops are made, each of which knows where its own begin
  const std::int32_t* device_maps = nullptr;  // the same on the device

  Training training(int layer, int which, const MeanSquare* square) const {
    return {rules + 3 * layer + which, square, spoilt};
  }
};

using Context = sparsebp::Context<float>;

inline const float* value(const Context& context, int id) { return context.values[static_cast<std::size_t>(id)]; }
inline float* output(const Context& context, int id) { return context.values[static_cast<std::size_t>(id)]; }
inline float* gradient(const Context& context, int id) { return context.grads[static_cast<std::size_t>(id)]; }

// Of any kind; and of the kinds that a file has.
std::unique_ptr<Op<float>> make_op(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                   Driver& driver);
#define SPARSEBP_OPS(name)                                                                                            \
  std::unique_ptr<Op<float>> make_##name(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, \
                                         const Driver& driver);
SPARSEBP_OPS(activation)
SPARSEBP_OPS(arithmetic)
SPARSEBP_OPS(channel_pool)
SPARSEBP_OPS(dropout)
SPARSEBP_OPS(gated)
SPARSEBP_OPS(norm)
SPARSEBP_OPS(pool)
#undef SPARSEBP_OPS
std::unique_ptr<Op<float>> make_move(const OpSpec& op, const ProgramSpec& program, Driver& driver);

}  // namespace sparsebp::cuda
