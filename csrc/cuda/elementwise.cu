// Ops without weights: addition, activation, pooling, dropout.
#include "cuda/elementwise.cuh"
#include "cuda/ops.h"
#include "program/ops/elementwise_buffers.h"

namespace sparsebp::cuda {
namespace {

class Add final : public Elementwise<float> {
 public:
  Add(const OpSpec& op, const ProgramSpec& program, const Driver& driver) : Elementwise(op, program), driver_(driver) {}

  void forward(Context& context) override {
    const Index n = count(context);
    each(driver_.queue, &add, n,
         AddArgs{cuda::value(context, spec.inputs[0]), cuda::value(context, spec.inputs[1]),
                 output(context, spec.output), n});
  }

  void backward(Context& context) override {
    const float* dy = gradient(context, spec.output);
    const Index n = count(context);
    for (int i = 0; i < 2; ++i) {
      if (gradient(context, spec.inputs[static_cast<std::size_t>(i)]) == nullptr) continue;
      const Target target = input_grad(context, i);
      each(driver_.queue, &add, n, AddArgs{dy, target.accumulate ? target.grad : nullptr, target.grad, n});
    }
  }

 private:
  const Driver& driver_;
};

class ActivationOp final : public ActivationBuffers<float> {
 public:
  ActivationOp(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : ActivationBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const Index n = rows(context);
    each(driver_.queue, &activation_forward, n * ((channels_ + 7) / 8),
         ActivationArgs{cuda::value(context, spec.inputs[0]), output(context, spec.output), n, channels_,
                        spec.activation, Mask{acquire_mask(context), n, channels_, false}});
  }

  void backward(Context& context) override {
    const float* dy = gradient(context, spec.output);
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    const Index n = rows(context);
    const Mask passes{const_cast<std::uint8_t*>(mask(context)), n, channels_, false};
    each(driver_.queue, &masked, n * channels_,
         MaskedArgs{dy, target.grad, n, channels_, passes, 1.0f, target.accumulate});
  }

 private:
  const Driver& driver_;
};

class Pool final : public Op<float> {
 public:
  Pool(const OpSpec& op, const Driver& driver) : Op(op), driver_(driver) {}

  void forward(Context& context) override {
    const ConvShape& s = spec.window;
    const PoolArgs args{s,
                        context.images,
                        value(context, spec.inputs[0]),
                        output(context, spec.output),
                        s.in,
                        s.in,
                        spec.count_padding,
                        false};
    each(driver_.queue, &pool_forward, context.images * s.out_pixels() * s.in, args);
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    const ConvShape& s = spec.window;
    const PoolArgs args{s,
                        context.images,
                        gradient(context, spec.output),
                        target.grad,
                        s.in,
                        s.in,
                        spec.count_padding,
                        target.accumulate};
    each(driver_.queue, &pool_backward, context.images * s.pixels() * s.in, args);
  }

 private:
  const Driver& driver_;
};

class Dropout final : public DropoutBuffers<float> {
 public:
  Dropout(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : DropoutBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const Index n = count(context);
    std::uint8_t* mask = acquire_mask(context);
    const bool drops = begin_forward(context);
    each(driver_.queue, &dropout, (n + 7) / 8,
         DropoutArgs{cuda::value(context, spec.inputs[0]), output(context, spec.output), n, driver_.dropout_key,
                     static_cast<std::uint64_t>(spec.output), spec.drop, keep_scale(), drops, mask});
  }

  void backward(Context& context) override {
    const float* dy = gradient(context, spec.output);
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    const Index n = count(context);
    // A row of one value's elements, all of them, has its bits one after the other.
    const Mask passes{const_cast<std::uint8_t*>(mask(context)), 1, n, false};
    each(driver_.queue, &masked, n, MaskedArgs{dy, target.grad, 1, n, passes, backward_scale(), target.accumulate});
  }

 private:
  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_elementwise(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                            const Driver& driver) {
  switch (op.kind) {
    case OpKind::add:
      return std::make_unique<Add>(op, program, driver);
    case OpKind::activation:
      return std::make_unique<ActivationOp>(op, program, declare, driver);
    case OpKind::pool:
      return std::make_unique<Pool>(op, driver);
    case OpKind::dropout:
      return std::make_unique<Dropout>(op, program, declare, driver);
    default:
      throw InvalidArgument("ops: unknown kind");
  }
}

}  // namespace sparsebp::cuda
