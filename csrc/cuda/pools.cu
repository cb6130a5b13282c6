// Ops that give an image other sides: pooling and resizing.
#include "cuda/ops.h"
#include "cuda/pools.cuh"
#include "cuda/resize.cuh"
#include "program/ops/max_pool_buffers.h"
#include "program/ops/other_sides.h"

namespace sparsebp::cuda {
namespace {

class Pool final : public Op<float> {
 public:
  Pool(const OpSpec& op, const Driver& driver) : Op(op), driver_(driver) {}

  void forward(Context& context) override {
    const ConvShape& s = spec.window;
    each(driver_.queue, &pool_forward, context.images * s.out_pixels() * s.in,
         args(context, value(context, spec.inputs[0]), output(context, spec.output), false));
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    const ConvShape& s = spec.window;
    each(driver_.queue, &pool_backward, context.images * s.pixels() * s.in,
         args(context, gradient(context, spec.output), target.grad, target.accumulate));
  }

 private:
  PoolArgs args(const Context& context, const float* x, float* y, bool accumulate) const {
    const ConvShape& s = spec.window;
    return {s, context.images, x, y, s.in, s.in, spec.count_padding, accumulate};
  }
  const Driver& driver_;
};

class MaxPool final : public MaxPoolBuffers<float> {
 public:
  MaxPool(const OpSpec& op, const Declare<float>& declare, const Driver& driver)
      : MaxPoolBuffers(op, declare), driver_(driver) {}

  void forward(Context& context) override {
    each(driver_.queue, &max_pool_forward, context.images * spec.window.out_pixels() * pixel_,
         args(context, value(context, spec.inputs[0]), output(context, spec.output), acquire_taps(context), false));
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    each(driver_.queue, &max_pool_backward, context.images * spec.window.pixels() * spec.window.in,
         args(context, gradient(context, spec.output), target.grad, taps(context), target.accumulate));
  }

 private:
  MaxPoolArgs args(const Context& context, const float* x, float* y, std::uint8_t* taps, bool accumulate) const {
    return {spec.window, context.images, x, y, taps, tap_bits(spec.window.taps()), accumulate};
  }
  const Driver& driver_;
};

class AdaptivePool final : public OtherSides<float> {
 public:
  AdaptivePool(const OpSpec& op, const ProgramSpec& program, const Driver& driver)
      : OtherSides(op, program), driver_(driver) {}

  void forward(Context& context) override {
    each(driver_.queue, &adaptive_pool_forward, context.images * out_.count(),
         args(context, value(context, spec.inputs[0]), output(context, spec.output), false));
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    each(driver_.queue, &adaptive_pool_backward, context.images * in_.count(),
         args(context, gradient(context, spec.output), target.grad, target.accumulate));
  }

 private:
  AdaptivePoolArgs args(const Context& context, const float* x, float* y, bool accumulate) const {
    return {context.images, in_.height, in_.width, out_.height, out_.width, in_.channels, x, y, accumulate};
  }
  const Driver& driver_;
};

class Resize final : public OtherSides<float> {
 public:
  Resize(const OpSpec& op, const ProgramSpec& program, const Driver& driver)
      : OtherSides(op, program), driver_(driver) {}

  void forward(Context& context) override {
    each(driver_.queue, &resize_forward, context.images * out_.count(),
         args(context, value(context, spec.inputs[0]), output(context, spec.output), false));
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    each(driver_.queue, &resize_backward, context.images * in_.count(),
         args(context, gradient(context, spec.output), target.grad, target.accumulate));
  }

 private:
  ResizeArgs args(const Context& context, const float* x, float* y, bool accumulate) const {
    const Side rows{spec.resampling, out_.height, in_.height, spec.scale_h};
    const Side columns{spec.resampling, out_.width, in_.width, spec.scale_w};
    return {x, y, context.images, in_.channels, rows, columns, accumulate};
  }
  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_pool(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                     const Driver& driver) {
  switch (op.kind) {
    case OpKind::max_pool:
      return std::make_unique<MaxPool>(op, declare, driver);
    case OpKind::adaptive_pool:
      return std::make_unique<AdaptivePool>(op, program, driver);
    case OpKind::resize:
      return std::make_unique<Resize>(op, program, driver);
    default:
      return std::make_unique<Pool>(op, driver);
  }
}

}  // namespace sparsebp::cuda
