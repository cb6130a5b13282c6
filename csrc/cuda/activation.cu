// Activations on their own: one that layers know, one that they do not, one with a slope a channel, a softmax.
#include "cuda/curves.cuh"
#include "cuda/layer.h"
#include "cuda/ops.h"
#include "program/ops/elementwise_buffers.h"

namespace sparsebp::cuda {
namespace {

// ReLU, ReLU6, or nothing.
class Clamp final : public ActivationBuffers<float> {
 public:
  Clamp(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
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
    each(driver_.queue, &masked, n * channels_, MaskedArgs{dy, target.grad, n, channels_, passes, target.accumulate});
  }

 private:
  const Driver& driver_;
};

class CurveOp final : public ActivationBuffers<float> {
 public:
  CurveOp(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : ActivationBuffers(op, program, declare),
        driver_(driver),
        steps_(steps_of(op.activation, static_cast<double>(static_cast<float>(op.alpha)), bits())) {}

  void forward(Context& context) override {
    CurveArgs args{};
    args.x = cuda::value(context, spec.inputs[0]), args.y = output(context, spec.output);
    args.count = count(context);
    args.alpha = static_cast<float>(spec.alpha), args.beta = static_cast<float>(spec.beta);
    args.kept = acquire_mask(context), args.input = acquire_input(context);
    args.bits = bits(), args.steps = steps_;
    with_curve(spec.activation, [&](auto kind) {
      each(driver_.queue, &curve_forward<decltype(kind)::value>, (args.count + 7) / 8, args);
    });
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    CurveGradArgs args{};
    args.dy = gradient(context, spec.output), args.x = input(context), args.dx = target.grad;
    args.count = count(context);
    args.alpha = static_cast<float>(spec.alpha), args.beta = static_cast<float>(spec.beta);
    args.kept = mask(context), args.bits = bits(), args.steps = steps_;
    args.accumulate = target.accumulate;
    with_curve(spec.activation, [&](auto kind) {
      each(driver_.queue, &curve_backward<decltype(kind)::value>, (args.count + 7) / 8, args);
    });
  }

 private:
  const Driver& driver_;
  const Steps steps_;
};

class Prelu final : public PreluBuffers<float> {
 public:
  Prelu(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : PreluBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const Index n = rows(context);
    float* slopes = context.workspace->acquire<float>(slopes_, channels_);
    layer_run(context).fold(slopes, nullptr);
    each(driver_.queue, &prelu_forward, n * ((channels_ + 7) / 8),
         PreluArgs{cuda::value(context, spec.inputs[0]), slopes, output(context, spec.output), n, channels_,
                   Mask{acquire_mask(context), n, channels_, false}});
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    const Index n = rows(context);
    float* slopes = context.training.acquire<float>(backward_slopes_, channels_);
    layer_run(context).fold(slopes, nullptr);
    const Mask passes{const_cast<std::uint8_t*>(mask(context)), n, channels_, false};
    each(driver_.queue, &prelu_backward, n * channels_,
         PreluGradArgs{gradient(context, spec.output), slopes, target.grad, n, channels_, passes, target.accumulate});
  }

 private:
  LayerRun layer_run(Context& context) const {
    return {driver_, context.layers[static_cast<std::size_t>(layer_)], layer_, context.images};
  }
  const Driver& driver_;
};

class Softmax final : public SoftmaxBuffers<float> {
 public:
  Softmax(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : SoftmaxBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    launch(driver_.queue, &softmax_forward, grid(context), kSoftmaxThreads,
           SoftmaxArgs{cuda::value(context, spec.inputs[0]), output(context, spec.output), acquire_result(context),
                       channels_});
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    launch(driver_.queue, &softmax_backward, grid(context), kSoftmaxThreads,
           SoftmaxGradArgs{gradient(context, spec.output), result(context), target.grad, channels_, target.accumulate});
  }

 private:
  dim3 grid(const Context& context) const { return dim3(static_cast<unsigned>(rows(context))); }
  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_activation(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                           const Driver& driver) {
  if (op.kind == OpKind::prelu) return std::make_unique<Prelu>(op, program, declare, driver);
  if (op.kind == OpKind::softmax) return std::make_unique<Softmax>(op, program, declare, driver);
  if (is_layers(op.activation)) return std::make_unique<Clamp>(op, program, declare, driver);
  return std::make_unique<CurveOp>(op, program, declare, driver);
}

}  // namespace sparsebp::cuda
