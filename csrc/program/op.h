// One step of a program. Construction declares every buffer the op will acquire; running only acquires those.
#pragma once

#include <memory>

#include "core/error.h"
#include "program/context.h"

namespace sparsebp {

// Rows of one image's value, in memory from row `begin` on.
template <class T>
struct Rows {
  T* data;
  Index begin;
};

template <class T>
class Op {
 public:
  explicit Op(const OpSpec& op_spec) : spec(op_spec) {}
  virtual ~Op() = default;

  // Reads context.values of its inputs, writes that of its output; saves what backward needs if context.save.
  virtual void forward(Context<T>& context) = 0;

  // In a stream: makes output rows `out` of one image, of which nothing is saved, from the input rows that they reach.
  virtual void forward_rows(Context<T>& /*context*/, Rows<const T> /*x*/, Rows<T> /*y*/, Range /*out*/) {
    throw WrongState("forward: this op makes its output whole");
  }

  // Reads context.grads of its output (and may overwrite it unless it is the program's output), adds to or writes
  // those of its inputs, and trains its layers.
  virtual void backward(Context<T>& context) = 0;

  const OpSpec spec;

 protected:
  // Gives the writer of input `i`'s gradient its pointer (null: not wanted) and whether it must add.
  struct Target {
    T* grad;
    bool accumulate;
  };
  Target input_grad(Context<T>& context, int i) const {
    const auto value = static_cast<std::size_t>(spec.inputs[static_cast<std::size_t>(i)]);
    const Target target{context.grads[value], context.grad_set[value] != 0};
    context.grad_set[value] = 1;
    return target;
  }
};

// One of each kind, float and double.
#define SPARSEBP_OP(name) \
  template <class T>      \
  std::unique_ptr<Op<T>> make_##name(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare);
SPARSEBP_OP(conv)
SPARSEBP_OP(depthwise)
SPARSEBP_OP(conv_transpose)
SPARSEBP_OP(norm)
SPARSEBP_OP(group_norm)
SPARSEBP_OP(block)
SPARSEBP_OP(head)
SPARSEBP_OP(add)
SPARSEBP_OP(multiply)
SPARSEBP_OP(affine)
SPARSEBP_OP(activation)
SPARSEBP_OP(prelu)
SPARSEBP_OP(softmax)
SPARSEBP_OP(dropout)
SPARSEBP_OP(pool)
SPARSEBP_OP(max_pool)
SPARSEBP_OP(adaptive_pool)
SPARSEBP_OP(channel_pool)
SPARSEBP_OP(concat)
SPARSEBP_OP(channels)
SPARSEBP_OP(reshape)
SPARSEBP_OP(gather)
SPARSEBP_OP(gated)
SPARSEBP_OP(zeros)
SPARSEBP_OP(resize)
#undef SPARSEBP_OP

}  // namespace sparsebp
