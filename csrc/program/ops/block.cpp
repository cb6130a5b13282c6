// An inverted residual (expand 1x1, depthwise, project 1x1), streamed: forward and backward run channel block by
// channel block, so the expanded tensors, six times as wide as the block's input, never exist whole.
//
// Backward needs no expanded value but the selected ones: the gradient through both activations is a bit per element.
// Units of kPanel channels are independent of each other up to the sum into dx, which runs in its own region.
#include <algorithm>

#include "core/parallel.h"
#include "program/dense.h"
#include "program/op.h"

namespace sparsebp {
namespace {

template <class T>
class Block final : public Op<T> {
 public:
  Block(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Op<T>(op),
        expands_(op.layers.size() == 3),
        expand_(op.layers.front()),
        depthwise_(op.layers[op.layers.size() - 2]),
        project_(op.layers.back()),
        input_grad_(declare.input_grad) {
    const LayerSpec& dw = program.layers[static_cast<std::size_t>(depthwise_)];
    const LayerSpec& project = program.layers[static_cast<std::size_t>(project_)];
    const ConvShape& s = dw.shape;
    wide_ = s.in, in_rows_ = s.pixels(), out_rows_ = s.out_pixels();
    in_ = program.values[static_cast<std::size_t>(op.inputs[0])].channels, out_ = project.shape.out;
    backward_block_ = std::min(op.block, wide_), forward_block_ = std::min(op.forward_block, wide_);
    const Index b = declare.batch;
    fold_ = declare.forward_scratch("fold", 2 * (2 * wide_ + out_));
    if (expands_) expanded_ = declare.forward_scratch("expanded", b * in_rows_ * forward_block_);
    filtered_ = declare.forward_scratch("filtered", b * out_rows_ * forward_block_);
    if (!declare.in_span) return;

    if (expands_) {
      const LayerSpec& expand = program.layers[static_cast<std::size_t>(expand_)];
      if (expand.selected > 0) saved_expand_ = declare.saved("expand.saved", b * in_rows_ * expand.selected);
      wide_grad_ = declare.input_grad || expand.trains();
      if (wide_grad_ && expand.activation != Activation::identity) {
        expand_mask_ = declare.masks("expand.mask", b * in_rows_ * mask_row_bytes(wide_));
      }
    } else {
      wide_grad_ = declare.input_grad;
    }
    if (dw.selected > 0) saved_depthwise_ = declare.saved("depthwise.saved", b * in_rows_ * dw.selected);
    if (project.selected > 0) saved_project_ = declare.saved("project.saved", b * out_rows_ * project.selected);
    filtered_grad_ = wide_grad_ || dw.trains();
    if (filtered_grad_ && dw.activation != Activation::identity) {
      depthwise_mask_ = declare.masks("depthwise.mask", b * out_rows_ * mask_row_bytes(wide_));
    }
    scale_ = declare.backward_scratch("scale", out_ + (expands_ ? backward_block_ : 0));
    if (filtered_grad_) {
      d_filtered_ = declare.backward_scratch("d_filtered", b * out_rows_ * backward_block_);
      panel_count_ = div_up(backward_block_, kPanel) * panel_rows() * kPanel;
    }
    if (wide_grad_ && expands_) {
      d_expanded_ = declare.backward_scratch("d_expanded", b * in_rows_ * backward_block_);
      const ConvShape& expand = program.layers[static_cast<std::size_t>(expand_)].shape;
      if (input_grad_) panel_count_ = std::max(panel_count_, conv_backward_scratch(expand, backward_block_));
    }
    if (panel_count_ > 0) panels_ = declare.backward_scratch("panels", panel_count_);
  }

  void forward(Context<T>& context) override {
    const Kernels<T>& kernels = *context.kernels;
    const Layer<T>&expand = layer(context, expand_), &dw = layer(context, depthwise_);
    const Layer<T>& project = layer(context, project_);
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const Index n = context.images;

    T* fold = context.workspace.template acquire<T>(fold_, 2 * (2 * wide_ + out_));
    T *expand_fold = fold, *dw_fold = fold + 2 * wide_, *project_fold = fold + 4 * wide_;
    if (expands_) {
      expand.fold(kernels, 0, wide_, expand_fold, expand_fold + wide_);
    } else {
      std::fill_n(expand_fold, 2 * wide_, T(0));
    }
    dw.fold(kernels, 0, wide_, dw_fold, dw_fold + wide_);
    project.fold(kernels, 0, out_, project_fold, project_fold + out_);
    T* filtered = context.workspace.template acquire<T>(filtered_, n * out_rows_ * forward_block_);
    T* expanded = expands_ ? context.workspace.template acquire<T>(expanded_, n * in_rows_ * forward_block_) : nullptr;
    Saved saved;
    if (context.save) saved = acquire_saved(context);
    if (saved.expand != nullptr) expand.save(kernels, x, in_, n * in_rows_, 0, in_, saved.expand);

    const Index taps = dw.spec.shape.taps();
    const Index forward_work = n * kPanel * (in_rows_ * (expands_ ? in_ : 1) + out_rows_ * taps);
    for (Index first = 0; first < wide_; first += forward_block_) {
      const Index width = std::min(forward_block_, wide_ - first);
      parallel_for(div_up(width, kPanel), forward_work, [&](Index unit) {
        const Index c = first + unit * kPanel, count = std::min(kPanel, first + width - c);
        const T* wide = x + c;
        Index wide_row = in_;
        if (expands_) {
          T* out = expanded + unit * kPanel;
          expand_columns(kernels, expand, n, x, c, count, expand_fold, saved.expand_mask, out);
          wide = out, wide_row = forward_block_;
        }
        if (saved.depthwise != nullptr) dw.save(kernels, wide, wide_row, n * in_rows_, c, count, saved.depthwise);
        T* out = filtered + unit * kPanel;
        filter_columns(kernels, dw, n, wide, wide_row, c, count, dw_fold, saved.depthwise_mask, out);
        if (saved.project != nullptr) {
          project.save(kernels, out, forward_block_, n * out_rows_, c, count, saved.project);
        }
      });
      GemmArgs<T> args{};
      args.a = filtered, args.a_row = forward_block_;
      args.b = project.params.weight + first * out_;
      args.c = y, args.c_row = out_;
      args.rows = n * out_rows_, args.cols = out_;
      args.sum.n1 = width, args.sum.b1 = out_;
      const bool last = first + width == wide_;
      args.store = static_cast<Store>((first > 0 ? 1 : 0) | (last ? 2 : 0));
      args.affine.scale = project.spec.has_norm ? project_fold : nullptr;
      args.affine.shift = project_fold + out_;
      if (this->spec.residual) args.affine.residual = x, args.affine.residual_row = in_;
      parallel_gemm(kernels, args);
    }
  }

  void backward(Context<T>& context) override {
    const Kernels<T>& kernels = *context.kernels;
    Layer<T>&expand = layer(context, expand_), &project = layer(context, project_);
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const Index n = context.images;

    Scratch scratch = acquire_scratch(context);
    project.fold(kernels, 0, out_, scratch.project_scale, nullptr);
    if (project.spec.trains_bias()) train_project_shift(kernels, project, n, dy, scratch.project_scale);

    typename Op<T>::Target target{nullptr, false};
    if (input_grad_) target = this->input_grad(context, 0);
    if (target.grad != nullptr && this->spec.residual) {
      pass_residual(dy, n * in_rows_ * in_, target);
      target.accumulate = true;
    }
    const T* saved_expand = saved_expand_ >= 0 ? context.training.template at<T>(saved_expand_) : nullptr;
    const Index taps = layer(context, depthwise_).spec.shape.taps();
    const Index backward_work = n * kPanel * (out_rows_ * out_ + in_rows_ * taps);
    for (Index first = 0; first < wide_; first += backward_block_) {
      const Index width = std::min(backward_block_, wide_ - first);
      parallel_for(div_up(width, kPanel), backward_work, [&](Index unit) {
        const Index c = first + unit * kPanel;
        backward_columns(context, scratch, dy, target, unit, c, std::min(kPanel, first + width - c));
      });
      if (expands_ && wide_grad_) {
        const T* scale = expand.spec.has_norm ? scratch.expand_scale : nullptr;
        conv_backward(kernels, expand, n, {scratch.d_expanded, backward_block_, first, width, scale}, saved_expand,
                      target.grad, target.accumulate || first > 0, scratch.panels);
      }
    }
  }

 private:
  struct Saved {
    T *expand = nullptr, *depthwise = nullptr, *project = nullptr;
    std::uint8_t *expand_mask = nullptr, *depthwise_mask = nullptr;
  };
  struct Scratch {
    T *project_scale, *expand_scale, *d_filtered = nullptr, *d_expanded = nullptr, *panels = nullptr;
  };

  Layer<T>& layer(Context<T>& context, int index) const { return context.layers[static_cast<std::size_t>(index)]; }
  Index panel_rows() const { return std::min(out_, kPanelRows); }

  Saved acquire_saved(Context<T>& context) const {
    Saved saved;
    const Index n = context.images, mask = mask_row_bytes(wide_);
    PlannedArena& arena = context.training;
    const auto slice = [&](int buffer, Index rows, int index) {
      return buffer < 0 ? nullptr : arena.template acquire<T>(buffer, n * rows * layer(context, index).spec.selected);
    };
    saved.expand = slice(saved_expand_, in_rows_, expand_);
    saved.depthwise = slice(saved_depthwise_, in_rows_, depthwise_);
    saved.project = slice(saved_project_, out_rows_, project_);
    if (expand_mask_ >= 0) saved.expand_mask = arena.template acquire<std::uint8_t>(expand_mask_, n * in_rows_ * mask);
    if (depthwise_mask_ >= 0) {
      saved.depthwise_mask = arena.template acquire<std::uint8_t>(depthwise_mask_, n * out_rows_ * mask);
    }
    return saved;
  }

  Scratch acquire_scratch(Context<T>& context) const {
    const Index n = context.images;
    PlannedArena& arena = context.training;
    Scratch scratch;
    scratch.project_scale = arena.template acquire<T>(scale_, out_ + (expands_ ? backward_block_ : 0));
    scratch.expand_scale = scratch.project_scale + out_;
    if (expands_) std::fill_n(scratch.expand_scale, backward_block_, T(0));
    if (d_filtered_ >= 0) scratch.d_filtered = arena.template acquire<T>(d_filtered_, n * out_rows_ * backward_block_);
    if (d_expanded_ >= 0) scratch.d_expanded = arena.template acquire<T>(d_expanded_, n * in_rows_ * backward_block_);
    if (panels_ >= 0) scratch.panels = arena.template acquire<T>(panels_, panel_count_);
    return scratch;
  }

  void expand_columns(const Kernels<T>& kernels, const Layer<T>& expand, Index n, const T* x, Index c, Index count,
                      const T* fold, std::uint8_t* mask, T* out) const {
    GemmArgs<T> args{};
    args.a = x, args.a_row = in_;
    args.b = expand.params.weight + c;
    args.c = out, args.c_row = forward_block_;
    args.rows = n * in_rows_, args.cols = count;
    args.sum.n1 = in_, args.sum.b1 = wide_;
    args.store = Store::affine;
    args.affine.scale = expand.spec.has_norm ? fold + c : nullptr;
    args.affine.shift = fold + wide_ + c;
    args.affine.activation = expand.spec.activation;
    args.affine.mask = mask != nullptr ? mask + c / 8 : nullptr, args.affine.mask_row = mask_row_bytes(wide_);
    kernels.gemm(args);
  }

  void filter_columns(const Kernels<T>& kernels, const Layer<T>& dw, Index n, const T* wide, Index wide_row, Index c,
                      Index count, const T* fold, std::uint8_t* mask, T* out) const {
    DepthwiseArgs<T> args{};
    args.shape = dw.spec.shape;
    args.x_pixel = wide_row, args.y_pixel = forward_block_;
    args.weight = dw.params.weight + c, args.weight_row = wide_;
    args.channels = count, args.row_begin = 0, args.row_end = args.shape.out_height;
    args.affine.scale = dw.spec.has_norm ? fold + c : nullptr;
    args.affine.shift = fold + wide_ + c;
    args.affine.activation = dw.spec.activation;
    args.affine.mask_row = mask_row_bytes(wide_);
    for (Index i = 0; i < n; ++i) {
      args.x = wide + i * in_rows_ * wide_row, args.y = out + i * out_rows_ * forward_block_;
      args.affine.mask = mask != nullptr ? mask + i * out_rows_ * args.affine.mask_row + c / 8 : nullptr;
      kernels.depthwise_forward(args);
    }
  }

  void train_project_shift(const Kernels<T>& kernels, Layer<T>& project, Index n, const T* dy, const T* scale) const {
    parallel_for(div_up(out_, kPanel), n * out_rows_ * kPanel, [&](Index unit) {
      const Index c = unit * kPanel;
      T sums[kPanel];
      MaskArgs<T> args{};
      // Without a mask nothing is written through g.
      args.g = const_cast<T*>(dy) + c, args.g_row = out_;
      args.rows = n * out_rows_, args.cols = std::min(kPanel, out_ - c), args.sum = sums;
      kernels.mask(args);
      project.update_shift(kernels, c, args.cols, sums, project.spec.has_norm ? scale + c : nullptr);
    });
  }

  static void pass_residual(const T* dy, Index count, const typename Op<T>::Target& target) {
    if (!target.accumulate) {
      std::copy_n(dy, count, target.grad);
    } else {
      for (Index i = 0; i < count; ++i) target.grad[i] += dy[i];
    }
  }

  // Everything that belongs to `count` <= kPanel expanded channels from `c` on, but for the expansion's own products.
  void backward_columns(Context<T>& context, const Scratch& scratch, const T* dy, const typename Op<T>::Target& target,
                        Index unit, Index c, Index count) {
    const Kernels<T>& kernels = *context.kernels;
    Layer<T>&expand = layer(context, expand_), &dw = layer(context, depthwise_);
    Layer<T>& project = layer(context, project_);
    const Index n = context.images;
    const T* project_scale = project.spec.has_norm ? scratch.project_scale : nullptr;
    T* d_filtered = scratch.d_filtered != nullptr ? scratch.d_filtered + unit * kPanel : nullptr;
    if (filtered_grad_) {
      T* panel = scratch.panels + unit * panel_rows() * kPanel;
      for (Index o = 0; o < out_; o += kPanelRows) {
        const Index rows = std::min(kPanelRows, out_ - o);
        kernels.pack({project.params.weight + c * out_ + o, out_,
                      project_scale != nullptr ? project_scale + o : nullptr, panel, rows, count});
        GemmArgs<T> args{};
        args.a = dy + o, args.a_row = out_;
        args.b = panel;
        args.c = d_filtered, args.c_row = backward_block_;
        args.rows = n * out_rows_, args.cols = count;
        args.sum.n1 = rows, args.sum.b1 = kPanel;
        args.store = o > 0 ? Store::accumulate : Store::assign;
        kernels.gemm(args);
      }
    }
    if (saved_project_ >= 0) {
      project.update_weight(kernels, n, {dy, out_, 0, out_, project_scale},
                            context.training.template at<T>(saved_project_), c, count);
    }
    if (!filtered_grad_) return;

    T sums[kPanel], dw_scale[kPanel];
    pass_mask(context, depthwise_mask_, n * out_rows_, d_filtered, c, count, sums);
    dw.fold(kernels, c, count, dw_scale, nullptr);
    const T* scale = dw.spec.has_norm ? dw_scale : nullptr;
    T* d_wide = nullptr;
    if (wide_grad_) {
      d_wide = expands_ ? scratch.d_expanded + unit * kPanel : target.grad + c;
      const Index d_wide_row = expands_ ? backward_block_ : in_;
      for (Index i = 0; i < n; ++i) {
        DepthwiseArgs<T> args{};
        args.shape = dw.spec.shape;
        args.x = d_filtered + i * out_rows_ * backward_block_, args.x_pixel = backward_block_;
        args.weight = dw.params.weight + c, args.weight_row = wide_;
        args.y = d_wide + i * in_rows_ * d_wide_row, args.y_pixel = d_wide_row;
        args.channels = count, args.row_begin = 0, args.row_end = args.shape.height;
        args.accumulate = !expands_ && target.accumulate;
        args.affine.scale = scale;
        kernels.depthwise_input_grad(args);
      }
    }
    if (saved_depthwise_ >= 0) {
      dw.update_depthwise(kernels, n, {d_filtered, backward_block_, c, count, scale},
                          context.training.template at<T>(saved_depthwise_));
    }
    dw.update_shift(kernels, c, count, sums, scale);
    if (!expands_ || !wide_grad_) return;

    pass_mask(context, expand_mask_, n * in_rows_, d_wide, c, count, sums);
    T* expand_scale = scratch.expand_scale + unit * kPanel;
    expand.fold(kernels, c, count, expand_scale, nullptr);
    expand.update_shift(kernels, c, count, sums, expand.spec.has_norm ? expand_scale : nullptr);
  }

  void pass_mask(Context<T>& context, int mask, Index rows, T* g, Index c, Index count, T* sums) const {
    MaskArgs<T> args{};
    args.g = g, args.g_row = backward_block_;
    args.mask = mask >= 0 ? context.training.template at<std::uint8_t>(mask) + c / 8 : nullptr;
    args.mask_row = mask_row_bytes(wide_);
    args.rows = rows, args.cols = count, args.sum = sums;
    context.kernels->mask(args);
  }

  const bool expands_;
  const int expand_, depthwise_, project_;  // layers; expand_ is meaningless without an expansion
  const bool input_grad_;
  bool wide_grad_ = false, filtered_grad_ = false;  // is the gradient of the expanded / filtered tensor needed
  Index wide_, in_, out_, in_rows_, out_rows_, backward_block_, forward_block_;
  Index panel_count_ = 0;
  int fold_ = -1, expanded_ = -1, filtered_ = -1;
  int saved_expand_ = -1, saved_depthwise_ = -1, saved_project_ = -1, expand_mask_ = -1, depthwise_mask_ = -1;
  int scale_ = -1, d_filtered_ = -1, d_expanded_ = -1, panels_ = -1;
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_block(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Block<T>>(op, program, declare);
}
template std::unique_ptr<Op<float>> make_block<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_block<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
