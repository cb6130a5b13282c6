#include "cuda/layer.h"

namespace sparsebp::cuda {

void LayerRun::save(const float* x, Index x_pixel, Index pixels, float* saved) const {
  const Index selected = layer.spec.selected;
  each(driver.queue, &gather, pixels * selected,
       GatherArgs{x, x_pixel, pixels, selected, layer.state.arena_indices, saved});
}

void LayerRun::fold(float* scale, float* shift) const {
  each(driver.queue, &cuda::fold, shape().out, FoldArgs{norm_of(layer), shape().out, scale, shift});
}

void LayerRun::forward_columns(const float* x, float* y, Index y_row, Index first, Index count, Index rows,
                               const Mask& mask, Index mask_row, const float* residual) const {
  const ConvShape& s = shape();
  const Index group = first / s.out_per_group();
  GemmArgs args{};
  args.a = x + group * s.in_per_group(), args.a_row = s.in;
  args.b = layer.params.weight + first, args.b_row = s.out;
  args.c = y, args.c_row = y_row;
  args.rows = static_cast<int>(rows), args.cols = static_cast<int>(count);
  args.depth = static_cast<int>(s.taps() * s.in_per_group());
  args.window = window_of(transposed() ? mirrored(s) : s), args.out_count = static_cast<int>(s.in_per_group());
  args.residual = residual, args.residual_row = y_row;
  args.affine = true, args.channel = first, args.norm = norm_of(layer), args.activation = activation();
  args.mask = mask, args.mask_row = mask_row;
  if (s.pointwise()) {
    multiply<Product::rows>(driver.queue, args);
  } else if (transposed()) {
    multiply<Product::transposed>(driver.queue, args);
  } else {
    multiply<Product::convolution>(driver.queue, args);
  }
}

void LayerRun::forward(const float* x, float* y, Index rows, const Mask& mask, Index mask_row,
                       const float* residual) const {
  const ConvShape& s = shape();
  // A group's columns need not begin with a byte of the mask.
  const Mask own = s.groups == 1 ? mask : Mask{};
  for (Index g = 0; g < s.groups; ++g) {
    const Index first = g * s.out_per_group();
    forward_columns(x, y + first, s.out, first, s.out_per_group(), rows, own, mask_row,
                    residual != nullptr ? residual + first : nullptr);
  }
  if (s.groups > 1 && mask.data != nullptr) {
    each(driver.queue, &activation_forward, rows * ((s.out + 7) / 8),
         ActivationArgs{y, y, rows, s.out, layer.spec.activation, mask});
  }
}

void LayerRun::forward_depthwise(const float* x, float* y, Index image_count, const Mask& mask, Index mask_row) const {
  const Index channels = shape().out;
  forward_depthwise_columns(x, channels, y, channels, 0, channels, image_count, mask, mask_row);
}

void LayerRun::forward_depthwise_columns(const float* x, Index x_row, float* y, Index y_row, Index first, Index count,
                                         Index image_count, const Mask& mask, Index mask_row) const {
  const ConvShape& s = shape();
  DepthwiseArgs args{};
  args.window = window_of(s), args.kernel_h = static_cast<int>(s.kernel_h);
  args.images = image_count, args.channels = static_cast<int>(count);
  args.x = x, args.x_pixel = x_row, args.y = y, args.y_pixel = y_row;
  args.weight = layer.params.weight + first, args.weight_row = s.out;
  args.norm = norm_of(layer), args.channel = first, args.activation = activation();
  args.mask = mask, args.mask_row = mask_row;
  start_depthwise<false>(driver.queue, args);
}

void LayerRun::input_grad_depthwise(const float* dz, Index dz_row, float* dx, Index dx_row, Index first, Index count,
                                    bool accumulate, const Mask& gate) const {
  const ConvShape& s = shape();
  DepthwiseArgs args{};
  args.window = window_of(s), args.kernel_h = static_cast<int>(s.kernel_h);
  args.images = images, args.channels = static_cast<int>(count);
  args.x = dz, args.x_pixel = dz_row, args.y = dx, args.y_pixel = dx_row;
  args.weight = layer.params.weight + first, args.weight_row = s.out;
  args.norm = norm_of(layer), args.channel = first;
  args.accumulate = accumulate, args.gate = gate, args.gate_channel = first;
  start_depthwise<true>(driver.queue, args);
}

ColumnArgs LayerRun::column_args(float* g, Index g_row, Index begin, Index count, Index rows, const Mask& mask,
                                 float* scale) const {
  const LayerParams<float>& p = layer.params;
  const LayerState<float>& state = layer.state;
  ColumnArgs args{};
  if (mask.data == nullptr && scale == nullptr && !layer.spec.trains_bias()) return args;
  args.g = g, args.g_row = g_row, args.begin = begin;
  args.mask = mask, args.rows = static_cast<int>(rows), args.cols = static_cast<int>(count);
  args.norm = norm_of(layer), args.scale = scale;
  if (layer.spec.trains_bias()) {
    args.bias = {p.bias, state.bias_momentum, state.bias_sum, layer.squared_norms.bias,
                 driver.training(index, 1, state.bias_square)};
    args.beta = {p.beta, state.beta_momentum, state.beta_sum, layer.squared_norms.beta,
                 driver.training(index, 2, state.beta_square)};
  }
  return args;
}

void LayerRun::pass_back(float* g, Index g_row, Index begin, Index count, Index rows, const Mask& mask, float* scale,
                         const PartialSums& partial) const {
  sum_columns(driver.queue, column_args(g, g_row, begin, count, rows, mask, scale), ColumnArgs{}, partial);
}

void LayerRun::input_grad(const OutputGrad& grad, float* dx, Index dx_row, Index first, Index count, bool accumulate,
                          const Mask& gate) const {
  const ConvShape& s = shape();
  GemmArgs args{};
  args.a_row = grad.row, args.b_row = s.out, args.c_row = dx_row;
  args.rows = static_cast<int>(images * s.pixels());
  args.window = window_of(transposed() ? mirrored(s) : s);
  args.accumulate = accumulate;
  if (s.pointwise() && s.groups == 1) {
    args.gate = gate, args.gate_channel = first;
    args.a = grad.dz, args.a_scale = grad.scale;
    args.b = layer.params.weight + first * s.out + grad.begin, args.c = dx;
    args.cols = static_cast<int>(count), args.depth = static_cast<int>(grad.count);
    return multiply<Product::rows_back>(driver.queue, args);
  }
  args.out_count = static_cast<int>(s.groups == 1 ? grad.count : s.out_per_group());
  args.cols = static_cast<int>(s.in_per_group());
  args.depth = static_cast<int>(s.taps()) * args.out_count;
  for (Index g = 0; g < s.groups; ++g) {
    const Index out = s.groups == 1 ? grad.begin : g * s.out_per_group();
    args.a = grad.dz + (out - grad.begin);
    args.a_scale = grad.scale != nullptr ? grad.scale + (out - grad.begin) : nullptr;
    args.b = layer.params.weight + out, args.c = dx + g * s.in_per_group();
    if (transposed()) {
      multiply<Product::transposed_back>(driver.queue, args);
    } else {
      multiply<Product::gradient_back>(driver.queue, args);
    }
  }
}

void LayerRun::train_weight(const OutputGrad& grad, const Slice& saved, Index begin, Index end,
                            const PartialSums& partial, bool spare) const {
  if (!layer.wants_weight_grad() || saved.data == nullptr) return;
  const LayerState<float>& state = layer.state;
  WeightArgs args{};
  args.shape = shape(), args.transposed = transposed(), args.images = images;
  args.saved = saved, args.selected = layer.spec.selected;
  args.dz = grad.dz, args.dz_row = grad.row, args.begin = grad.begin, args.count = grad.count;
  args.scale = grad.scale, args.indices = state.arena_indices;
  args.channel_begin = begin, args.channel_end = end;
  args.weight = layer.params.weight, args.momentum = state.momentum, args.sum = state.sum;
  args.squared_norm = layer.squared_norms.rows, args.training = driver.training(index, 0, state.square);
  train_rows(driver.queue, args, spare ? const_cast<float*>(grad.dz) : nullptr, partial);
}

void LayerRun::train_depthwise(const OutputGrad& grad, const Slice& saved) const {
  if (!layer.wants_weight_grad() || saved.data == nullptr) return;
  const LayerState<float>& state = layer.state;
  DepthwiseWeightArgs args{};
  args.shape = shape(), args.images = images;
  args.saved = saved, args.dz = grad.dz, args.dz_row = grad.row, args.begin = grad.begin, args.count = grad.count;
  args.selected = layer.spec.selected, args.indices = state.arena_indices, args.norm = norm_of(layer);
  args.weight = layer.params.weight, args.momentum = state.momentum, args.sum = state.sum;
  args.squared_norm = layer.squared_norms.rows, args.training = driver.training(index, 0, state.square);
  launch(driver.queue, &depthwise_weight_grad, dim3(static_cast<unsigned>(args.selected)), kDepthwiseThreads, args);
}

}  // namespace sparsebp::cuda
