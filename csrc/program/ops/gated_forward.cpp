// Forward, on whole images: inference has them anyway.
#include <algorithm>

#include "platform/parallel.h"
#include "program/convolution.h"
#include "program/ops/gated.h"
#include "program/ops/runs.h"

namespace sparsebp {
namespace {

// The frozen batch norm and the bias of a layer, without its activation.
template <class T>
Affine<T> folded(const Kernels<T>& kernels, const Layer<T>& layer, T* fold) {
  const Index out = layer.spec.shape.out;
  layer.fold(kernels, 0, out, fold, fold + out);
  Affine<T> affine;
  affine.scale = layer.spec.has_norm ? fold : nullptr, affine.shift = fold + out;
  return affine;
}

template <class T>
void activate_all(const Kernels<T>& kernels, Activation activation, T* x, Index count) {
  parallel_spans(count, 16,
                 [&](Index first, Index length) { activate(kernels, activation, x + first, x + first, length); });
}

}  // namespace

template <class T>
void Gated<T>::forward(Context<T>& context) {
  const Kernels<T>& kernels = *context.kernels;
  const Index n = context.images;
  const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
  T* y = context.values[static_cast<std::size_t>(this->spec.output)];
  const Wide wide = this->acquire_wide(context);
  const Kept kept = context.save && trains_ ? this->acquire_kept(context) : Kept{};
  if (kept.input != nullptr) std::copy_n(x, n * in_rows_ * in_, kept.input);

  const T* expanded = x;
  if (expands()) {
    const Layer<T>& expand = layer(context, parts_.expand);
    conv_forward(kernels, expand, n, x, wide.expanded, folded(kernels, expand, wide.fold));
    activate_all(kernels, expand.spec.activation, wide.expanded, n * in_rows_ * wide_);
    expanded = wide.expanded;
  }
  const Layer<T>& dw = layer(context, parts_.depthwise);
  const ConvShape& s = dw.spec.shape;
  const Affine<T> affine = folded(kernels, dw, wide.fold);
  parallel_for(n * s.out_height, s.out_width * s.out * s.taps(), [&](Index unit) {
    DepthwiseArgs<T> args{};
    args.shape = s;
    args.x = expanded + unit / s.out_height * in_rows_ * wide_, args.x_pixel = wide_;
    args.weight = dw.params.weight, args.weight_row = wide_;
    args.y = wide.filtered + unit / s.out_height * out_rows_ * wide_, args.y_pixel = wide_;
    args.channels = wide_, args.row_begin = unit % s.out_height, args.row_end = args.row_begin + 1;
    args.affine = affine;
    kernels.depthwise_forward(args);
  });
  activate_all(kernels, dw.spec.activation, wide.filtered, n * out_rows_ * wide_);
  if (gated()) make_gate(context, wide, kept);

  const Layer<T>& project = layer(context, parts_.project);
  Affine<T> last = folded(kernels, project, wide.fold);
  if (this->spec.residual) last.residual = x, last.residual_row = in_;
  conv_forward(kernels, project, n, wide.filtered, y, last);
}

// The gate of each image, and the filtered tensor times it.
template <class T>
void Gated<T>::make_gate(Context<T>& context, const Wide& wide, const Kept& kept) const {
  const Kernels<T>& kernels = *context.kernels;
  const Index n = context.images;
  const Layer<T>&reduce = layer(context, parts_.reduce), &restore = layer(context, parts_.restore);
  T *means = wide.gate, *gate = means + n * wide_, *reduced = gate + n * wide_;
  const Index panels = div_up(wide_, kPanel);
  parallel_for(n * panels, out_rows_ * kPanel, [&](Index unit) {
    const Index image = unit / panels, c = unit % panels * kPanel;
    T sums[kPanel];
    MaskArgs<T> args{};
    args.g = wide.filtered + image * out_rows_ * wide_ + c, args.g_row = wide_;
    args.rows = out_rows_, args.cols = std::min(kPanel, wide_ - c), args.sum = sums;
    kernels.mask(args);
    for (Index i = 0; i < args.cols; ++i) means[image * wide_ + c + i] = sums[i] / static_cast<T>(out_rows_);
  });
  conv_forward(kernels, reduce, n, means, reduced, folded(kernels, reduce, wide.fold));
  if (kept.means != nullptr) {
    std::copy_n(means, n * wide_, kept.means);
    std::copy_n(reduced, n * reduced_, kept.reduced);
  }
  activate(kernels, reduce.spec.activation, reduced, reduced, n * reduced_);
  conv_forward(kernels, restore, n, reduced, gate, folded(kernels, restore, wide.fold));
  if (kept.gate != nullptr) std::copy_n(gate, n * wide_, kept.gate);
  activate(kernels, restore.spec.activation, gate, gate, n * wide_);
  parallel_for(n * out_rows_, wide_, [&](Index pixel) {
    const T* own = gate + pixel / out_rows_ * wide_;
    T* numbers = wide.filtered + pixel * wide_;
    for (Index c = 0; c < wide_; ++c) numbers[c] *= own[c];
  });
}

template void Gated<float>::forward(Context<float>&);
template void Gated<double>::forward(Context<double>&);

}  // namespace sparsebp
