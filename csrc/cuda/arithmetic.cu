// Ops that add, multiply and scale.
#include "cuda/arithmetic.cuh"
#include "cuda/ops.h"
#include "program/ops/elementwise_buffers.h"

namespace sparsebp::cuda {
namespace {

const ValueSpec& input_spec(const OpSpec& op, const ProgramSpec& program, std::size_t i) {
  return program.values[static_cast<std::size_t>(op.inputs[i])];
}

void add_gradient(const Driver& driver, const SpreadSumArgs& args, const ValueSpec& second, Index images) {
  launch(driver.queue, &sum_spread, dim3(static_cast<unsigned>(images * second.count())), kSpreadThreads, args);
}

class Add final : public Elementwise<float> {
 public:
  Add(const OpSpec& op, const ProgramSpec& program, const Driver& driver)
      : Elementwise(op, program),
        driver_(driver),
        first_(input_spec(op, program, 0)),
        second_(input_spec(op, program, 1)),
        alpha_(static_cast<float>(op.alpha)) {}

  void forward(Context& context) override {
    const Index n = count(context);
    const float *a = cuda::value(context, spec.inputs[0]), *b = cuda::value(context, spec.inputs[1]);
    float* y = output(context, spec.output);
    if (same_sides(first_, second_)) {
      each(driver_.queue, &add, n, AddArgs{a, b, y, n, alpha_});
    } else {
      each(driver_.queue, &add_spread, n, SpreadArgs{a, b, y, n, channels_, Spread(first_, second_), alpha_, false});
    }
  }

  void backward(Context& context) override {
    const float* dy = gradient(context, spec.output);
    const Index n = count(context);
    if (gradient(context, spec.inputs[0]) != nullptr) pass_on(dy, input_grad(context, 0), n, 1.0f);
    if (gradient(context, spec.inputs[1]) == nullptr) return;
    const Target target = input_grad(context, 1);
    if (same_sides(first_, second_)) return pass_on(dy, target, n, alpha_);
    add_gradient(driver_,
                 {dy, nullptr, alpha_, target.grad, first_.height, first_.width, first_.channels, second_.height,
                  second_.width, second_.channels, target.accumulate},
                 second_, context.images);
  }

 private:
  void pass_on(const float* dy, const Target& target, Index n, float alpha) const {
    each(driver_.queue, &add, n, AddArgs{target.accumulate ? target.grad : nullptr, dy, target.grad, n, alpha});
  }

  const Driver& driver_;
  const ValueSpec first_, second_;
  const float alpha_;
};

class Multiply final : public ProductBuffers<float> {
 public:
  Multiply(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : ProductBuffers(op, program, declare), driver_(driver), first_(input_spec(op, program, 0)) {}

  void forward(Context& context) override {
    const float *a = cuda::value(context, spec.inputs[0]), *b = cuda::value(context, spec.inputs[1]);
    const Index n = count(context);
    keep(context, a, n, acquire_first(context));
    keep(context, b, context.images * second_.count(), acquire_second(context));
    multiply(a, b, output(context, spec.output), n, false);
  }

  void backward(Context& context) override {
    const float* dy = gradient(context, spec.output);
    const Index n = count(context);
    if (const float* b = second(context)) {
      const Target target = input_grad(context, 0);
      multiply(dy, b, target.grad, n, target.accumulate);
    }
    if (const float* a = first(context)) {
      const Target target = input_grad(context, 1);
      add_gradient(driver_,
                   {dy, a, 1.0f, target.grad, first_.height, first_.width, first_.channels, second_.height,
                    second_.width, second_.channels, target.accumulate},
                   second_, context.images);
    }
  }

 private:
  static void keep(Context& context, const float* x, Index n, float* kept) {
    if (kept != nullptr) context.training.arena->memory().copy(kept, x, static_cast<std::size_t>(n) * sizeof(float));
  }
  void multiply(const float* a, const float* b, float* out, Index n, bool accumulate) const {
    each(driver_.queue, &multiply_spread, n,
         SpreadArgs{a, b, out, n, channels_, Spread(first_, second_), 1.0f, accumulate});
  }

  const Driver& driver_;
  const ValueSpec first_;
};

class AffineOp final : public Elementwise<float> {
 public:
  AffineOp(const OpSpec& op, const ProgramSpec& program, const Driver& driver)
      : Elementwise(op, program), driver_(driver) {}

  void forward(Context& context) override {
    const Index n = count(context);
    each(driver_.queue, &affine, n,
         AffineArgs{cuda::value(context, spec.inputs[0]), output(context, spec.output), n,
                    static_cast<float>(spec.alpha), static_cast<float>(spec.beta)});
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    const Index n = count(context);
    each(driver_.queue, &add, n,
         AddArgs{target.accumulate ? target.grad : nullptr, gradient(context, spec.output), target.grad, n,
                 static_cast<float>(spec.alpha)});
  }

 private:
  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_arithmetic(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                           const Driver& driver) {
  if (op.kind == OpKind::add) return std::make_unique<Add>(op, program, driver);
  if (op.kind == OpKind::multiply) return std::make_unique<Multiply>(op, program, declare, driver);
  return std::make_unique<AffineOp>(op, program, driver);
}

}  // namespace sparsebp::cuda
