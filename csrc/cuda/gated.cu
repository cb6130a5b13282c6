// An inverted residual of any activations, with a gate per channel: see program/ops/gated.h. The same passes over the
// same channel blocks.
#include "cuda/arithmetic.cuh"
#include "cuda/gated.cuh"
#include "cuda/layer.h"
#include "cuda/ops.h"
#include "cuda/pools.cuh"
#include "program/ops/gated_buffers.h"

namespace sparsebp::cuda {
namespace {

class Gated final : public GatedBuffers<float> {
 public:
  Gated(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : GatedBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const Index n = context.images;
    const float* x = value(context, spec.inputs[0]);
    const Wide wide = acquire_wide(context);
    const Kept kept = context.save && trains_ ? acquire_kept(context) : Kept{};
    if (kept.input != nullptr) copy(context, kept.input, x, n * in_rows_ * in_);
    const float* expanded = x;
    if (expands()) {
      const LayerRun expand = run(context, parts_.expand);
      expand.forward(x, wide.expanded, n * in_rows_, Mask{});
      expand.activate(wide.expanded, wide.expanded, wide_, n * in_rows_, wide_);
      expanded = wide.expanded;
    }
    const LayerRun dw = run(context, parts_.depthwise);
    dw.forward_depthwise(expanded, wide.filtered, n, Mask{});
    dw.activate(wide.filtered, wide.filtered, wide_, n * out_rows_, wide_);
    if (gated()) make_gate(context, wide, kept);
    run(context, parts_.project)
        .forward(wide.filtered, output(context, spec.output), n * out_rows_, Mask{}, 0, spec.residual ? x : nullptr);
  }

  void backward(Context& context) override {
    float* dy = gradient(context, spec.output);
    const Index n = context.images;
    const Kept kept = this->kept(context);
    const Scratch scratch = acquire_scratch(context);
    const LayerRun project = run(context, parts_.project);
    // Without a mask nothing is written through dy.
    project.pass_back(dy, out_, 0, out_, n * out_rows_, Mask{}, scratch.fold, parts(scratch));
    const OutputGrad outer{dy, out_, 0, out_, scale_of(project, scratch.fold)};
    Target target{nullptr, false};
    if (input_grad_) target = input_grad(context, 0);
    if (target.grad != nullptr && spec.residual) {
      const Index count = n * in_rows_ * in_;
      each(driver_.queue, &add, count,
           AddArgs{target.accumulate ? target.grad : nullptr, dy, target.grad, count, 1.0f});
      target.accumulate = true;
    }
    if (gated()) {
      run(context, parts_.restore).activate(kept.gate, scratch.gate, wide_, n, wide_);
      for (Index first = 0; first < wide_; first += block_) {
        const Index width = std::min(block_, wide_ - first);
        remake(context, scratch, kept.input, first, width);
        project.input_grad(outer, scratch.d_filtered, block_, first, width, false);
        launch(driver_.queue, &gate_gradient, dim3(static_cast<unsigned>(n * width)), kGateThreads,
               gate_args(context, scratch, first, width));
      }
      gate_backward(context, scratch, kept);
    }
    for (Index first = 0; first < wide_; first += block_) {
      block_backward(context, scratch, kept, outer, target, first, std::min(block_, wide_ - first));
    }
  }

 private:
  LayerRun run(Context& context, int index) const {
    return {driver_, layer(context, index), index, context.images, true};
  }
  PartialSums parts(const Scratch& scratch) const { return {scratch.panels, panel_count_}; }
  static const float* scale_of(const LayerRun& run, const float* scale) {
    return run.layer.spec.has_norm ? scale : nullptr;
  }
  static void copy(Context& context, float* to, const float* from, Index count) {
    context.training.arena->memory().copy(to, from, static_cast<std::size_t>(count) * sizeof(float));
  }
  GateArgs gate_args(const Context& context, const Scratch& scratch, Index first, Index width) const {
    return {scratch.filtered,
            scratch.d_filtered,
            scratch.gate + first,
            scratch.d_means + first,
            scratch.d_gate + first,
            context.images,
            out_rows_,
            block_,
            width,
            wide_};
  }

  // The gate of each image, and the filtered tensor times it.
  void make_gate(Context& context, const Wide& wide, const Kept& kept) const {
    const Index n = context.images;
    const LayerRun reduce = run(context, parts_.reduce), restore = run(context, parts_.restore);
    const ConvShape& filter = layer(context, parts_.depthwise).spec.shape;
    float *means = wide.gate, *gate = means + n * wide_, *reduced = gate + n * wide_;
    average_images(driver_.queue, wide.filtered, wide_, means, wide_, n, filter, wide_);
    reduce.forward(means, reduced, n, Mask{});
    if (kept.means != nullptr) copy(context, kept.means, means, n * wide_);
    if (kept.reduced != nullptr) copy(context, kept.reduced, reduced, n * reduced_);
    reduce.activate(reduced, reduced, reduced_, n, reduced_);
    restore.forward(reduced, gate, n, Mask{});
    if (kept.gate != nullptr) copy(context, kept.gate, gate, n * wide_);
    restore.activate(gate, gate, wide_, n, wide_);
    const Spread spread({filter.out_height, filter.out_width, wide_}, {1, 1, wide_});
    const Index count = n * out_rows_ * wide_;
    each(driver_.queue, &multiply_spread, count,
         SpreadArgs{wide.filtered, gate, wide.filtered, count, wide_, spread, 1.0f, false});
  }

  // The channels of a block of the expanded and the filtered tensor, before their activations and after.
  void remake(Context& context, const Scratch& scratch, const float* x, Index first, Index width) const {
    const LayerRun dw = run(context, parts_.depthwise);
    const Index n = context.images;
    const float* read = x + first;
    if (expands()) {
      const LayerRun expand = run(context, parts_.expand);
      expand.forward_columns(x, scratch.expanded_before, block_, first, width, n * in_rows_, Mask{});
      expand.activate(scratch.expanded_before, scratch.expanded, block_, n * in_rows_, width);
      read = scratch.expanded;
    }
    dw.forward_depthwise_columns(read, expands() ? block_ : wide_, scratch.filtered_before, block_, first, width, n);
    dw.activate(scratch.filtered_before, scratch.filtered, block_, n * out_rows_, width);
  }

  // From the gate's gradient to that of the means; trains the gate's layers.
  void gate_backward(Context& context, const Scratch& scratch, const Kept& kept) const {
    const LayerRun reduce = run(context, parts_.reduce), restore = run(context, parts_.restore);
    const Index n = context.images;
    reduce.activate(kept.reduced, scratch.reduced, reduced_, n, reduced_);
    gate_layer_backward(restore, kept.gate, scratch.d_gate, scratch.reduced, scratch.d_reduced, parts(scratch));
    gate_layer_backward(reduce, kept.reduced, scratch.d_reduced, kept.means, scratch.d_means, parts(scratch));
  }
  // `before` its activation, the gradient behind that, what it reads, the gradient of that.
  static void gate_layer_backward(const LayerRun& run, const float* before, float* g, const float* read, float* d_read,
                                  const PartialSums& parts) {
    const Index in = run.shape().in, out = run.shape().out;
    run.activate_back(before, g, out, run.images, out);
    run.pass_back(g, out, 0, out, run.images, Mask{}, nullptr, parts);
    const OutputGrad grad{g, out, 0, out, nullptr};
    run.input_grad(grad, d_read, in, 0, in, false);
    run.train_weight(grad, {read, in, 0}, 0, in, parts);
  }

  void block_backward(Context& context, const Scratch& scratch, const Kept& kept, const OutputGrad& outer,
                      const Target& target, Index first, Index width) const {
    const LayerRun dw = run(context, parts_.depthwise), project = run(context, parts_.project);
    const Index n = context.images;
    remake(context, scratch, kept.input, first, width);
    project.input_grad(outer, scratch.d_filtered, block_, first, width, false);
    if (gated()) each(driver_.queue, &pass_gate, n * out_rows_ * width, gate_args(context, scratch, first, width));
    project.train_weight(outer, {scratch.filtered, block_, first}, first, first + width, parts(scratch));

    dw.activate_back(scratch.filtered_before, scratch.d_filtered, block_, n * out_rows_, width);
    if (wide_grad_) {
      dw.input_grad_depthwise(scratch.d_filtered, block_, expands() ? scratch.d_expanded : target.grad + first,
                              expands() ? block_ : in_, first, width, !expands() && target.accumulate);
    }
    const Slice read = expands() ? Slice{scratch.expanded, block_, first} : Slice{kept.input, in_, 0};
    dw.train_depthwise({scratch.d_filtered, block_, first, width, nullptr}, read);
    dw.pass_back(scratch.d_filtered, block_, first, width, n * out_rows_, Mask{}, nullptr, parts(scratch));
    if (!expands() || !wide_grad_) return;

    const LayerRun expand = run(context, parts_.expand);
    float* scale = scratch.fold + out_;
    expand.activate_back(scratch.expanded_before, scratch.d_expanded, block_, n * in_rows_, width);
    expand.pass_back(scratch.d_expanded, block_, first, width, n * in_rows_, Mask{}, scale, parts(scratch));
    const OutputGrad grad{scratch.d_expanded, block_, first, width, scale_of(expand, scale)};
    if (target.grad != nullptr) expand.input_grad(grad, target.grad, in_, 0, in_, target.accumulate || first > 0);
    expand.train_weight(grad, {kept.input, in_, 0}, 0, in_, parts(scratch), true);
  }

  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_gated(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                      const Driver& driver) {
  return std::make_unique<Gated>(op, program, declare, driver);
}

}  // namespace sparsebp::cuda
