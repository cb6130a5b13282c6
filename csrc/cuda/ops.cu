#include "cuda/layer.h"
#include "cuda/limits.h"
#include "cuda/ops.h"
#include "cuda/pools.cuh"
#include "program/ops/block_buffers.h"
#include "program/ops/conv_buffers.h"
#include "program/ops/head_buffers.h"

namespace sparsebp::cuda {
namespace {

const float* scale_of(const Layer& layer, const float* scale) { return layer.spec.has_norm ? scale : nullptr; }

// A convolution of its own; a depthwise or a transposed one too.
class Conv final : public ConvBuffers<float> {
 public:
  Conv(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : ConvBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const LayerRun run = layer_run(context);
    const ConvShape& s = run.shape();
    const float* x = value(context, spec.inputs[0]);
    float* y = output(context, spec.output);
    context.workspace->acquire<float>(fold_, 2 * s.out);  // as planned, though here nobody folds ahead
    const Index rows = context.images * s.out_pixels();
    const Mask mask{context.save ? acquire_mask(context) : nullptr, rows, s.out, false};
    if (float* saved = context.save ? acquire_saved(context) : nullptr) {
      run.save(x, s.in, context.images * s.pixels(), saved);
    }
    if (depthwise()) {
      run.forward_depthwise(x, y, context.images, mask);
    } else {
      run.forward(x, y, rows, mask);
    }
  }

  void backward(Context& context) override {
    const LayerRun run = layer_run(context);
    const ConvShape& s = run.shape();
    const Index rows = context.images * s.out_pixels();
    float* dz = gradient(context, spec.output);
    if (float* own = acquire_dz(context)) {
      each(driver_.queue, &add, rows * s.out, AddArgs{nullptr, dz, own, rows * s.out, 1.0f});
      dz = own;
    }
    float* scale = acquire_scale(context);
    const Mask passes{const_cast<std::uint8_t*>(mask(context)), rows, s.out, false};
    const PartialSums parts{acquire_panels(context), panel_count_};
    run.pass_back(dz, s.out, 0, s.out, rows, passes, scale, parts);
    const OutputGrad grad{dz, s.out, 0, s.out, scale};
    Target target{nullptr, false};
    if (input_grad_) target = input_grad(context, 0);
    if (depthwise()) {
      if (target.grad != nullptr) {
        run.input_grad_depthwise(dz, s.out, target.grad, s.in, 0, s.in, target.accumulate);
      }
      run.train_depthwise(grad, run.slice(saved(context)));
    } else {
      if (target.grad != nullptr) run.input_grad(grad, target.grad, s.in, 0, s.in, target.accumulate);
      // Without an activation dz may be the caller's.
      const bool spare = run.layer.spec.activation != Activation::identity;
      run.train_weight(grad, run.slice(saved(context)), 0, s.in, parts, spare);
    }
  }

 private:
  bool depthwise() const { return spec.kind == OpKind::depthwise; }
  LayerRun layer_run(Context& context) const { return {driver_, layer(context), layer_, context.images}; }
  const Driver& driver_;
};

class Block final : public BlockBuffers<float> {
 public:
  Block(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : BlockBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const LayerRun dw = run(context, depthwise_), project = run(context, project_);
    const Index n = context.images;
    const float* x = value(context, spec.inputs[0]);
    float* y = output(context, spec.output);
    context.workspace->acquire<float>(fold_, 2 * (2 * wide_ + out_));  // as planned, though here nobody folds ahead
    const auto [expanded, filtered] = acquire_strips(context, strips_.held_pixels(n), strips_.out_pixels(n));
    Saved saved;
    if (context.save) saved = acquire_saved(context);
    if (saved.expand != nullptr) run(context, expand_).save(x, in_, n * in_rows_, saved.expand);
    for (Index i = 0; i < strips_.count(n); ++i) {
      // Strips are whole images.
      const Strip strip = strips_.at(i, n);
      const Index first_in = strip.first_image * in_rows_, rows_in = strip.images * in_rows_;
      const Index first_out = strip.first_image * out_rows_, rows_out = strip.images * out_rows_;
      const float* wide = x + first_in * in_;
      if (expands_) {
        run(context, expand_)
            .forward(wide, expanded, rows_in, {saved.expand_mask, n * in_rows_, wide_, true}, first_in);
        wide = expanded;
      }
      if (saved.depthwise != nullptr) {
        dw.save(wide, wide_, rows_in, saved.depthwise + first_in * dw.layer.spec.selected);
      }
      dw.forward_depthwise(wide, filtered, strip.images, {saved.depthwise_mask, n * out_rows_, wide_, true}, first_out);
      if (saved.project != nullptr) {
        project.save(filtered, wide_, rows_out, saved.project + first_out * project.layer.spec.selected);
      }
      project.forward(filtered, y + first_out * out_, rows_out, Mask{}, 0,
                      spec.residual ? x + first_in * in_ : nullptr);
    }
  }

  void backward(Context& context) override {
    const LayerRun dw = run(context, depthwise_), project = run(context, project_);
    float* dy = gradient(context, spec.output);
    const Index n = context.images;
    const Scratch scratch = acquire_scratch(context);
    const PartialSums parts{scratch.panels, panel_count_};
    // Without a mask nothing is written through dy.
    project.pass_back(dy, out_, 0, out_, n * out_rows_, Mask{}, scratch.project_scale, parts);
    const OutputGrad outer{dy, out_, 0, out_, scale_of(project.layer, scratch.project_scale)};

    Target target{nullptr, false};
    if (input_grad_) target = input_grad(context, 0);
    if (target.grad != nullptr && spec.residual) {
      const Index count = n * in_rows_ * in_;
      each(driver_.queue, &add, count,
           AddArgs{target.accumulate ? target.grad : nullptr, dy, target.grad, count, 1.0f});
      target.accumulate = true;
    }
    for (Index first = 0; first < wide_; first += backward_block_) {
      const Index width = std::min(backward_block_, wide_ - first);
      if (filtered_grad_) {
        project.input_grad(outer, scratch.d_filtered, backward_block_, first, width, false,
                           mask_at(context, depthwise_mask_, n * out_rows_));
      }
      project.train_weight(outer, project.slice(at(context, saved_project_)), first, first + width, parts);
      if (!filtered_grad_) continue;
      const OutputGrad filtered{scratch.d_filtered, backward_block_, first, width, nullptr};
      const ColumnArgs sums =
          dw.column_args(scratch.d_filtered, backward_block_, first, width, n * out_rows_, Mask{}, nullptr);
      if (expands_ && wide_grad_) {
        backward_expansion(context, scratch, target, filtered, sums);
        continue;
      }
      sum_columns(driver_.queue, sums, ColumnArgs{}, parts);
      if (wide_grad_) {
        dw.input_grad_depthwise(scratch.d_filtered, backward_block_, target.grad + first, in_, first, width,
                                target.accumulate);
      }
      dw.train_depthwise(filtered, dw.slice(at(context, saved_depthwise_)));
    }
  }

 private:
  LayerRun run(Context& context, int index) const { return {driver_, layer(context, index), index, context.images}; }
  const float* at(Context& context, int buffer) const {
    return buffer >= 0 ? context.training.at<float>(buffer) : nullptr;
  }
  Mask mask_at(Context& context, int buffer, Index rows) const {
    return {buffer >= 0 ? context.training.at<std::uint8_t>(buffer) : nullptr, rows, wide_, true};
  }

  // From the gradient of a block of filtered channels on; `sums`: what follows from those of its columns.
  void backward_expansion(Context& context, const Scratch& scratch, const Target& target, const OutputGrad& filtered,
                          const ColumnArgs& sums) const {
    const Index first = filtered.begin, width = filtered.count;
    const LayerRun dw = run(context, depthwise_), expand = run(context, expand_);
    const Index rows = context.images * in_rows_;
    const PartialSums parts{scratch.panels, panel_count_};
    dw.input_grad_depthwise(scratch.d_filtered, backward_block_, scratch.d_expanded, backward_block_, first, width,
                            false, mask_at(context, expand_mask_, rows));
    dw.train_depthwise(filtered, dw.slice(at(context, saved_depthwise_)));
    sum_columns(
        driver_.queue, sums,
        expand.column_args(scratch.d_expanded, backward_block_, first, width, rows, Mask{}, scratch.expand_scale),
        parts);
    const OutputGrad grad{scratch.d_expanded, backward_block_, first, width,
                          scale_of(expand.layer, scratch.expand_scale)};
    if (target.grad != nullptr) expand.input_grad(grad, target.grad, in_, 0, in_, target.accumulate || first > 0);
    expand.train_weight(grad, expand.slice(at(context, saved_expand_)), 0, in_, parts, true);
  }

  const Driver& driver_;
};

class Head final : public HeadBuffers<float> {
 public:
  Head(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : HeadBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    const LayerRun run = layer_run(context);
    const Index rows = context.images * pixels_;
    const float* x = value(context, spec.inputs[0]);
    float* y = output(context, spec.output);
    context.workspace->acquire<float>(fold_, 2 * out_);  // as planned, though here nobody folds ahead
    float* z = context.workspace->acquire<float>(z_, rows * forward_block_);
    const Mask mask{context.save ? acquire_mask(context) : nullptr, rows, out_, true};
    if (float* saved = context.save ? acquire_saved(context) : nullptr) run.save(x, in_, rows, saved);
    if (context.save && remakes()) {
      context.training.arena->memory().copy(acquire_kept(context), x, static_cast<std::size_t>(rows * in_) * sizeof *x);
    }
    for (Index first = 0; first < out_; first += forward_block_) {
      const Index width = std::min(forward_block_, out_ - first);
      run.forward_columns(x, z, forward_block_, first, width, rows, mask);
      if (run.bare) run.activate(z, z, forward_block_, rows, width);
      average_images(driver_.queue, z, forward_block_, y + first, out_, context.images, run.shape(), width);
    }
  }

  void backward(Context& context) override {
    const LayerRun run = layer_run(context);
    const Index rows = context.images * pixels_;
    const float* dy = gradient(context, spec.output);
    float* dz = context.training.acquire<float>(dz_, rows * backward_block_);
    float* scale = context.training.acquire<float>(scale_, backward_block_);
    const PartialSums parts{panels_ >= 0 ? context.training.acquire<float>(panels_, panel_count_) : nullptr,
                            panel_count_};
    const float* x = remakes() ? kept(context) : nullptr;
    float* again = remakes() ? context.training.acquire<float>(again_, rows * backward_block_) : nullptr;
    const Slice read = remakes() ? Slice{x, in_, 0} : run.slice(saved(context));
    Target target{nullptr, false};
    if (input_grad_) target = input_grad(context, 0);
    const Mask passes{const_cast<std::uint8_t*>(mask(context)), rows, out_, true};
    for (Index first = 0; first < out_; first += backward_block_) {
      const Index width = std::min(backward_block_, out_ - first);
      each(driver_.queue, &unpool, rows * width,
           UnpoolArgs{dy + first, dz, context.images, pixels_, out_, backward_block_, width});
      if (remakes()) {
        run.forward_columns(x, again, backward_block_, first, width, rows, Mask{});
        run.activate_back(again, dz, backward_block_, rows, width);
      }
      run.pass_back(dz, backward_block_, first, width, rows, passes, scale, parts);
      const OutputGrad grad{dz, backward_block_, first, width, scale_of(run.layer, scale)};
      if (target.grad != nullptr) run.input_grad(grad, target.grad, in_, 0, in_, target.accumulate || first > 0);
      run.train_weight(grad, read, 0, in_, parts, true);
    }
  }

 private:
  LayerRun layer_run(Context& context) const {
    Layer& own = layer(context);
    return {driver_, own, layer_, context.images, !is_layers(own.spec.activation)};
  }
  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_op(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                   Driver& driver) {
  for (int layer : op.layers) check_limits(program.layers[static_cast<std::size_t>(layer)], program.batch);
  switch (op.kind) {
    case OpKind::conv:
    case OpKind::depthwise:
    case OpKind::conv_transpose:
      return std::make_unique<Conv>(op, program, declare, driver);
    case OpKind::block:
      return std::make_unique<Block>(op, program, declare, driver);
    case OpKind::head:
      return std::make_unique<Head>(op, program, declare, driver);
    case OpKind::add:
    case OpKind::multiply:
    case OpKind::affine:
      return make_arithmetic(op, program, declare, driver);
    case OpKind::activation:
    case OpKind::prelu:
    case OpKind::softmax:
      return make_activation(op, program, declare, driver);
    case OpKind::norm:
    case OpKind::group_norm:
    case OpKind::layer_norm:
      return make_norm(op, program, declare, driver);
    case OpKind::pool:
    case OpKind::max_pool:
    case OpKind::adaptive_pool:
    case OpKind::resize:
      return make_pool(op, program, declare, driver);
    case OpKind::channel_pool:
      return make_channel_pool(op, program, declare, driver);
    case OpKind::dropout:
      return make_dropout(op, program, declare, driver);
    case OpKind::concat:
    case OpKind::channels:
    case OpKind::gather:
    case OpKind::reshape:
    case OpKind::zeros:
      return make_move(op, program, driver);
    case OpKind::gated:
      return make_gated(op, program, declare, driver);
  }
  throw InvalidArgument("ops: unknown kind " + std::to_string(static_cast<int>(op.kind)));
}

}  // namespace sparsebp::cuda
