// Norms that no convolution absorbed, and norms by an image's own statistics.
#include "cuda/layer.h"
#include "cuda/norms.cuh"
#include "cuda/ops.h"
#include "program/ops/conv_buffers.h"

namespace sparsebp::cuda {
namespace {

class NormOp final : public ConvBuffers<float> {
 public:
  NormOp(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : ConvBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const LayerRun run = layer_run(context);
    const Index channels = run.shape().out, rows = context.images * run.shape().out_pixels();
    float* fold = context.workspace->acquire<float>(fold_, 2 * channels);
    run.fold(fold, fold + channels);
    const Mask mask{context.save ? acquire_mask(context) : nullptr, rows, channels, false};
    each(driver_.queue, &norm_forward, rows * ((channels + 7) / 8),
         NormForwardArgs{value(context, spec.inputs[0]), fold, fold + channels, output(context, spec.output), rows,
                         channels, run.layer.spec.activation, mask});
  }

  void backward(Context& context) override {
    const LayerRun run = layer_run(context);
    const Index channels = run.shape().out, rows = context.images * run.shape().out_pixels();
    float* dz = gradient(context, spec.output);
    if (float* own = acquire_dz(context)) {
      context.training.arena->memory().copy(own, dz, static_cast<std::size_t>(rows * channels) * sizeof(float));
      dz = own;
    }
    float* scale = acquire_scale(context);
    const Mask passes{const_cast<std::uint8_t*>(mask(context)), rows, channels, false};
    run.pass_back(dz, channels, 0, channels, rows, passes, scale, PartialSums{});
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    each(driver_.queue, &norm_backward, rows * channels,
         NormBackwardArgs{dz, scale, target.grad, rows, channels, target.accumulate});
  }

 private:
  LayerRun layer_run(Context& context) const { return {driver_, layer(context), layer_, context.images}; }
  const Driver& driver_;
};

// GroupNorm, and LayerNorm over the channels of each pixel.
class GroupNorm final : public GroupNormBuffers<float> {
 public:
  GroupNorm(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : GroupNormBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const LayerRun run = layer_run(context);
    float* fold = context.workspace->acquire<float>(fold_, 2 * groups_.row);
    run.fold(fold, fold + groups_.row);
    float *normed = acquire_normed(context), *inverse = acquire_inverse(context);
    launch(driver_.queue, &group_norm_forward, grid(context), kGroupThreads,
           GroupNormArgs{groups_, value(context, spec.inputs[0]), fold, fold + groups_.row,
                         output(context, spec.output), normed, inverse, run.layer.spec.eps});
  }

  void backward(Context& context) override {
    const LayerRun run = layer_run(context);
    float* dy = gradient(context, spec.output);
    const Target target = input_grad(context, 0);
    if (target.grad != nullptr) {
      float* scale = context.training.acquire<float>(scale_, groups_.row);
      run.fold(scale, nullptr);
      launch(driver_.queue, &group_norm_backward, grid(context), kGroupThreads,
             GroupNormGradArgs{groups_, dy, scale, normed(context), inverse(context), target.grad, target.accumulate});
    }
    // Trains the shift; without a mask dy stays as it is.
    run.pass_back(dy, groups_.row, 0, groups_.row, context.images * value_.pixels(), Mask{}, nullptr, PartialSums{});
  }

 private:
  dim3 grid(const Context& context) const { return dim3(static_cast<unsigned>(groups_.count(context.images))); }
  LayerRun layer_run(Context& context) const { return {driver_, layer(context), layer_, context.images}; }
  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_norm(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                     const Driver& driver) {
  if (op.kind == OpKind::norm) return std::make_unique<NormOp>(op, program, declare, driver);
  return std::make_unique<GroupNorm>(op, program, declare, driver);
}

}  // namespace sparsebp::cuda
