// Backward: see gated.h. What a unit makes again it makes with the weights of the forward pass: a block's weights are
// its own, and it trains them when it needs them no more.
#include <algorithm>

#include "platform/parallel.h"
#include "program/convolution.h"
#include "program/ops/gated.h"

namespace sparsebp {

template <class T>
void Gated<T>::backward(Context<T>& context) {
  const Kernels<T>& kernels = *context.kernels;
  const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
  const Index n = context.images;
  const Kept kept = this->kept(context);
  const Scratch scratch = this->acquire_scratch(context);
  Layer<T>& project = layer(context, parts_.project);
  project.fold(kernels, 0, out_, scratch.fold, nullptr);
  train_shifts(context, project, dy, n * out_rows_, out_);
  Target target{nullptr, false};
  if (input_grad_) target = this->input_grad(context, 0);
  if (target.grad != nullptr && this->spec.residual) {
    for (Index i = 0; i < n * in_rows_ * in_; ++i) target.grad[i] = target.accumulate ? target.grad[i] + dy[i] : dy[i];
    target.accumulate = true;
  }
  const Index taps = layer(context, parts_.depthwise).spec.shape.taps();
  const Index work = n * kPanel * (in_rows_ * (expands() ? in_ : 1) + out_rows_ * (taps + out_));
  const auto each_unit = [&](Index first, const auto& body) {
    const Index width = std::min(block_, wide_ - first);
    parallel_for(div_up(width, kPanel), work, [&](Index index) {
      body(Unit{first, index, first + index * kPanel, std::min(kPanel, width - index * kPanel)});
    });
  };
  if (gated()) {
    activate(kernels, layer(context, parts_.restore).spec.activation, kept.gate, scratch.gate, n * wide_);
    for (Index first = 0; first < wide_; first += block_) {
      each_unit(first, [&](const Unit& unit) {
        remake(context, scratch, kept.input, unit);
        filtered_gradient(context, scratch, dy, unit);
        gate_gradient(context, scratch, unit);
      });
    }
    gate_backward(context, scratch, kept);
  }
  for (Index first = 0; first < wide_; first += block_) {
    each_unit(first, [&](const Unit& unit) { unit_backward(context, scratch, kept, dy, target, unit); });
    if (!expands() || !wide_grad_) continue;
    Layer<T>& expand = layer(context, parts_.expand);
    const T* scale = expand.spec.has_norm ? scratch.fold + out_ : nullptr;
    const OutputGrad<T> grad{scratch.d_expanded, block_, first, std::min(block_, wide_ - first), scale};
    conv_backward(context, expand, grad, {kept.input, in_, 0}, target.grad, target.accumulate || first > 0,
                  scratch.panels);
  }
}

// Trains bias and shift of a layer, whose batch norm's scale lies at the beginning of the scratch if it has one.
template <class T>
void Gated<T>::train_shifts(Context<T>& context, Layer<T>& trained, const T* gradient, Index rows,
                            Index columns) const {
  if (!trained.spec.trains_bias()) return;
  for (Index c = 0; c < columns; c += kPanel) {
    T sums[kPanel], scale[kPanel];
    MaskArgs<T> args{};
    args.g = const_cast<T*>(gradient) + c, args.g_row = columns;  // without a mask it is only read
    args.rows = rows, args.cols = std::min(kPanel, columns - c), args.sum = sums;
    context.kernels->mask(args);
    trained.fold(*context.kernels, c, args.cols, scale, nullptr);
    trained.update_shift(*context.kernels, c, args.cols, sums, trained.spec.has_norm ? scale : nullptr);
  }
}

// The unit's channels of the expanded and the filtered tensor, before their activations and after.
template <class T>
void Gated<T>::remake(Context<T>& context, const Scratch& scratch, const T* x, const Unit& unit) const {
  const Kernels<T>& kernels = *context.kernels;
  const Index n = context.images, column = unit.index * kPanel;
  T fold[2 * kPanel];
  // A tile whose rows lie a block apart, row by row through an activation.
  const auto activate_rows = [&](Activation activation, const T* from, T* to, Index rows) {
    for (Index m = 0; m < rows; ++m) activate(kernels, activation, from + m * block_, to + m * block_, unit.count);
  };
  if (expands()) {
    const Layer<T>& expand = layer(context, parts_.expand);
    expand.fold(kernels, unit.channel, unit.count, fold, fold + kPanel);
    GemmArgs<T> args{};
    args.a = x, args.a_row = in_;
    args.b = expand.params.weight + unit.channel;
    args.c = scratch.expanded_before + column, args.c_row = block_;
    args.rows = n * in_rows_, args.cols = unit.count;
    args.sum.n1 = in_, args.sum.b1 = wide_;
    args.store = Store::affine;
    args.affine.scale = expand.spec.has_norm ? fold : nullptr, args.affine.shift = fold + kPanel;
    kernels.gemm(args);
    activate_rows(expand.spec.activation, args.c, scratch.expanded + column, args.rows);
  }
  const Layer<T>& dw = layer(context, parts_.depthwise);
  dw.fold(kernels, unit.channel, unit.count, fold, fold + kPanel);
  DepthwiseArgs<T> args{};
  args.shape = dw.spec.shape;
  args.x_pixel = expands() ? block_ : wide_, args.y_pixel = block_;
  args.weight = dw.params.weight + unit.channel, args.weight_row = wide_;
  args.channels = unit.count, args.row_begin = 0, args.row_end = args.shape.out_height;
  args.affine.scale = dw.spec.has_norm ? fold : nullptr, args.affine.shift = fold + kPanel;
  for (Index i = 0; i < n; ++i) {
    args.x = expands() ? scratch.expanded + column + i * in_rows_ * block_ : x + unit.channel + i * in_rows_ * wide_;
    args.y = scratch.filtered_before + column + i * out_rows_ * block_;
    kernels.depthwise_forward(args);
  }
  activate_rows(dw.spec.activation, scratch.filtered_before + column, scratch.filtered + column, n * out_rows_);
}

// d_filtered of the unit: the projection's input gradient.
template <class T>
void Gated<T>::filtered_gradient(Context<T>& context, const Scratch& scratch, const T* dy, const Unit& unit) const {
  const Kernels<T>& kernels = *context.kernels;
  const Layer<T>& project = layer(context, parts_.project);
  T* panel = scratch.panels + unit.index * panel_rows() * kPanel;
  for (Index o = 0; o < out_; o += kPanelRows) {
    const Index run = std::min(kPanelRows, out_ - o);
    kernels.pack({project.params.weight + unit.channel * out_ + o, out_,
                  project.spec.has_norm ? scratch.fold + o : nullptr, panel, run, unit.count});
    GemmArgs<T> args{};
    args.a = dy + o, args.a_row = out_;
    args.b = panel;
    args.c = scratch.d_filtered + unit.index * kPanel, args.c_row = block_;
    args.rows = context.images * out_rows_, args.cols = unit.count;
    args.sum.n1 = run, args.sum.b1 = kPanel;
    args.store = o > 0 ? Store::accumulate : Store::assign;
    kernels.gemm(args);
  }
}

// The gradient of the unit's part of each image's gate.
template <class T>
void Gated<T>::gate_gradient(Context<T>& context, const Scratch& scratch, const Unit& unit) const {
  for (Index n = 0; n < context.images; ++n) {
    T* sums = scratch.d_gate + n * wide_ + unit.channel;
    std::fill_n(sums, unit.count, T(0));
    for (Index p = 0; p < out_rows_; ++p) {
      const Index at = (n * out_rows_ + p) * block_ + unit.index * kPanel;
      for (Index c = 0; c < unit.count; ++c) sums[c] += scratch.d_filtered[at + c] * scratch.filtered[at + c];
    }
  }
}

// From the gate's gradient to that of the means; trains the gate's layers.
template <class T>
void Gated<T>::gate_backward(Context<T>& context, const Scratch& scratch, const Kept& kept) {
  const Kernels<T>& kernels = *context.kernels;
  Layer<T>&reduce = layer(context, parts_.reduce), &restore = layer(context, parts_.restore);
  const Index n = context.images;
  activate(kernels, reduce.spec.activation, kept.reduced, scratch.reduced, n * reduced_);
  activate_backward(kernels, restore.spec.activation, kept.gate, scratch.d_gate, n * wide_);
  train_shifts(context, restore, scratch.d_gate, n, wide_);
  conv_backward(context, restore, {scratch.d_gate, wide_, 0, wide_, nullptr}, {scratch.reduced, reduced_, 0},
                scratch.d_reduced, false, scratch.panels);
  activate_backward(kernels, reduce.spec.activation, kept.reduced, scratch.d_reduced, n * reduced_);
  train_shifts(context, reduce, scratch.d_reduced, n, reduced_);
  conv_backward(context, reduce, {scratch.d_reduced, reduced_, 0, reduced_, nullptr}, {kept.means, wide_, 0},
                scratch.d_means, false, scratch.panels);
}

// Everything of the unit but for the expansion's own products.
template <class T>
void Gated<T>::unit_backward(Context<T>& context, const Scratch& scratch, const Kept& kept, const T* dy,
                             const Target& target, const Unit& unit) {
  const Kernels<T>& kernels = *context.kernels;
  Layer<T>&dw = layer(context, parts_.depthwise), &project = layer(context, parts_.project);
  const Index n = context.images, column = unit.index * kPanel;
  remake(context, scratch, kept.input, unit);
  filtered_gradient(context, scratch, dy, unit);
  T *d_filtered = scratch.d_filtered + column, *filtered = scratch.filtered + column;
  // What the projection reads is gated; a gradient passes the gate, and the mean that it is made of.
  for (Index m = 0; gated() && m < n * out_rows_; ++m) {
    const Index at = m / out_rows_ * wide_ + unit.channel;
    for (Index c = 0; c < unit.count; ++c) {
      filtered[m * block_ + c] *= scratch.gate[at + c];
      T& g = d_filtered[m * block_ + c];
      g = g * scratch.gate[at + c] + scratch.d_means[at + c] / static_cast<T>(out_rows_);
    }
  }
  const OutputGrad<T> projected{dy, out_, 0, out_, project.spec.has_norm ? scratch.fold : nullptr};
  project.update_weight(kernels, n, projected, {scratch.filtered, block_, unit.first}, unit.channel, unit.count);

  const auto pass_rows = [&](Activation activation, const T* before, T* g, Index rows) {
    for (Index m = 0; m < rows; ++m) {
      activate_backward(kernels, activation, before + m * block_, g + m * block_, unit.count);
    }
  };
  const auto train_shift = [&](Layer<T>& trained, const T* g, Index rows, const T* scale) {
    T sums[kPanel];
    MaskArgs<T> args{};
    args.g = const_cast<T*>(g), args.g_row = block_, args.rows = rows, args.cols = unit.count, args.sum = sums;
    kernels.mask(args);
    trained.update_shift(kernels, unit.channel, unit.count, sums, scale);
  };
  pass_rows(dw.spec.activation, scratch.filtered_before + column, d_filtered, n * out_rows_);
  T dw_scale[kPanel];
  dw.fold(kernels, unit.channel, unit.count, dw_scale, nullptr);
  const T* scale = dw.spec.has_norm ? dw_scale : nullptr;
  T* d_wide = nullptr;
  if (wide_grad_) d_wide = expands() ? scratch.d_expanded + column : target.grad + unit.channel;
  for (Index i = 0; wide_grad_ && i < n; ++i) {
    DepthwiseArgs<T> args{};
    args.shape = dw.spec.shape;
    args.x = d_filtered + i * out_rows_ * block_, args.x_pixel = block_;
    args.weight = dw.params.weight + unit.channel, args.weight_row = wide_;
    args.y_pixel = expands() ? block_ : in_, args.y = d_wide + i * in_rows_ * args.y_pixel;
    args.channels = unit.count, args.row_begin = 0, args.row_end = args.shape.height;
    args.accumulate = !expands() && target.accumulate;
    args.affine.scale = scale;
    kernels.depthwise_input_grad(args);
  }
  const Slice<T> read = expands() ? Slice<T>{scratch.expanded, block_, unit.first} : Slice<T>{kept.input, in_, 0};
  dw.update_depthwise(kernels, n, {d_filtered, block_, unit.channel, unit.count, scale}, read);
  train_shift(dw, d_filtered, n * out_rows_, scale);
  if (!expands() || !wide_grad_) return;

  Layer<T>& expand = layer(context, parts_.expand);
  pass_rows(expand.spec.activation, scratch.expanded_before + column, d_wide, n * in_rows_);
  T* expand_scale = scratch.fold + out_ + column;
  expand.fold(kernels, unit.channel, unit.count, expand_scale, nullptr);
  train_shift(expand, d_wide, n * in_rows_, expand.spec.has_norm ? expand_scale : nullptr);
}

template void Gated<float>::backward(Context<float>&);
template void Gated<double>::backward(Context<double>&);

template <class T>
std::unique_ptr<Op<T>> make_gated(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Gated<T>>(op, program, declare);
}
template std::unique_ptr<Op<float>> make_gated<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_gated<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
