#include "program/layer.h"

#include <algorithm>

#include "program/channel_score.h"

namespace sparsebp {

template <class T>
void Layer<T>::fold(const Kernels<T>& kernels, Index begin, Index count, T* scale, T* shift) const {
  if (spec.shared) {
    if (scale != nullptr) std::fill_n(scale, count, params.gamma != nullptr ? *params.gamma : T(1));
    if (shift != nullptr) std::fill_n(shift, count, params.bias != nullptr ? *params.bias : T(0));
    return;
  }
  FoldArgs<T> args{};
  const auto from = [begin](auto* p) { return p != nullptr ? p + begin : nullptr; };
  args.gamma = from(params.gamma), args.beta = from(params.beta);
  args.mean = from(params.mean), args.var = from(params.var);
  args.bias = from(params.bias);
  args.eps = spec.eps, args.count = count;
  args.scale = scale, args.shift = shift;
  kernels.fold(args);
}

template <class T>
void Layer<T>::save(const Kernels<T>& kernels, const T* x, Index x_pixel, Index pixels, Index begin, Index count,
                    const Slice<T>& saved) const {
  GatherArgs<T> args{};
  args.x_pixel = x_pixel, args.out_pixel = saved.pixel, args.pixels = pixels;
  if (saved.first >= 0 || selects_all()) {
    args.x = x, args.out = saved.data + begin - std::max<Index>(saved.first, 0), args.count = count;
    kernels.gather(args);
  } else if (begin == 0 && count == spec.shape.in) {
    args.x = x, args.channels = state.indices, args.out = saved.data, args.count = spec.selected;
    kernels.gather(args);
  } else {
    args.count = 1;
    for (Index j = 0; j < spec.selected; ++j) {
      const Index c = channel(j) - begin;
      if (c < 0 || c >= count) continue;
      args.x = x + c, args.out = saved.data + j;
      kernels.gather(args);
    }
  }
}

template <class T>
void Layer<T>::update_rows(const Kernels<T>& kernels, WeightGradArgs<T>& args, const Index* selected, int count,
                           Index tap, Index first_column) const {
  const ConvShape& s = spec.shape;
  const Index group_column = first_column % s.out_per_group();
  for (int r = 0; r < count; ++r) {
    const Index j = selected[r], row = (j * s.taps() + tap) * s.out_per_group() + group_column;
    const Index u = channel(j) % s.in_per_group();
    WeightRow<T>& out = args.rows[r];
    out.weight = params.weight + (tap * s.in_per_group() + u) * s.out + first_column;
    out.momentum = state.momentum != nullptr ? state.momentum + row : nullptr;
    out.sum = state.sum != nullptr ? state.sum + row : nullptr;
    out.squared_norm = squared_norms.rows != nullptr ? squared_norms.rows + j : nullptr;
  }
  args.row_count = count;
  args.sgd = rules.weight.now;
  kernels.weight_grad(args);
}

template <class T>
void Layer<T>::update_weight(const Kernels<T>& kernels, Index images, const OutputGrad<T>& grad, const Slice<T>& saved,
                             Index begin, Index count) {
  const Index columns = std::min(grad.count, training_outputs() - grad.begin);
  if (!wants_weight_grad() || saved.data == nullptr || columns <= 0) return;
  const bool transposed = spec.kind == LayerKind::transposed;
  const ConvShape& s = spec.shape;
  const Index k = spec.selected, row = saved.pixel;
  const bool all = selects_all();  // then channel j is row j, and there is nothing to look for
  for (Index j = all ? begin : 0; j < (all ? begin + count : k);) {
    // Up to kWeightRows selected channels of one group share a tile.
    Index selected[kWeightRows];
    int rows = 0;
    Index group = -1;
    for (; j < (all ? begin + count : k) && rows < kWeightRows; ++j) {
      const Index c = channel(j);
      if (c < begin || c >= begin + count) continue;
      if (rows > 0 && c / s.in_per_group() != group) break;
      group = c / s.in_per_group();
      selected[rows++] = j;
    }
    if (rows == 0) break;
    // Without groups the gradient may cover a part of the columns (streaming); with groups it covers all.
    const Index first = s.groups == 1 ? grad.begin : group * s.out_per_group();
    WeightGradArgs<T> args{};
    args.cols = s.groups == 1 ? columns : s.out_per_group();
    args.scale = grad.scale != nullptr ? grad.scale + (first - grad.begin) : nullptr;
    const T* dz = grad.dz + (first - grad.begin);
    if (s.pointwise()) {
      args.sum.n1 = images * s.out_pixels(), args.sum.a1 = row, args.sum.b1 = grad.row;
      args.b = dz, args.parts = grad.parts;
      for (int r = 0; r < rows; ++r) args.rows[r].a = saved.data + column(saved, selected[r]);
      update_rows(kernels, args, selected, rows, 0, first);
      continue;
    }
    for (Index tap = 0; tap < s.taps(); ++tap) {
      const TapPairs pairs = transposed ? transposed_pairs(s, tap) : tap_pairs(s, tap);
      const bool empty = pairs.rows == 0 || pairs.columns == 0;
      args.sum.n1 = empty ? 0 : pairs.columns, args.sum.n2 = pairs.rows, args.sum.n3 = images;
      args.sum.a1 = pairs.in_step_w * row, args.sum.a2 = pairs.in_step_h * s.width * row,
      args.sum.a3 = s.pixels() * row;
      args.sum.b1 = pairs.out_step_w * grad.row, args.sum.b2 = pairs.out_step_h * s.out_width * grad.row;
      args.sum.b3 = s.out_pixels() * grad.row;
      args.b = empty ? dz : dz + (pairs.out_y * s.out_width + pairs.out_x) * grad.row;
      for (int r = 0; r < rows; ++r) {
        const T* first_pixel = saved.data + (empty ? 0 : (pairs.in_y * s.width + pairs.in_x) * row);
        args.rows[r].a = first_pixel + column(saved, selected[r]);
      }
      update_rows(kernels, args, selected, rows, tap, first);
    }
  }
}

template <class T>
void Layer<T>::update_depthwise(const Kernels<T>& kernels, Index images, const OutputGrad<T>& grad,
                                const Slice<T>& saved) {
  if (!wants_weight_grad()) return;
  if (selects_all()) return update_filters(kernels, images, grad, saved, grad.begin, grad.count);
  for (Index j = 0; j < spec.selected; ++j) {
    const Index c = channel(j) - grad.begin;
    if (c >= 0 && c < grad.count) update_filters(kernels, images, grad, saved, j, 1);
  }
}

template <class T>
void Layer<T>::update_filters(const Kernels<T>& kernels, Index images, const OutputGrad<T>& grad, const Slice<T>& saved,
                              Index j, Index count) {
  const ConvShape& s = spec.shape;
  const Index taps = s.taps(), c = channel(j) - grad.begin;
  constexpr Index kRun = 64;  // taps reduced at a time; larger kernels go tap run by tap run
  T sums[kRun * kPanel];
  DepthwiseWeightGradArgs<T> args{};
  args.shape = s, args.images = images, args.channels = count;
  args.saved = saved.data + column(saved, j), args.saved_pixel = saved.pixel;
  args.dz = grad.dz + c, args.dz_pixel = grad.row;
  args.grad = sums;
  for (args.tap_begin = 0; args.tap_begin < taps; args.tap_begin = args.tap_end) {
    args.tap_end = std::min(taps, args.tap_begin + kRun);
    kernels.depthwise_weight_grad(args);
    for (Index tap = args.tap_begin; tap < args.tap_end; ++tap) {
      T* g = sums + (tap - args.tap_begin) * count;
      for (Index i = 0; i < count; ++i) {
        if (grad.scale != nullptr) g[i] *= grad.scale[c + i];
        if (squared_norms.rows != nullptr) squared_norms.rows[j + i] += static_cast<float>(g[i] * g[i]);
        if (state.sum != nullptr) state.sum[(j + i) * taps + tap] += g[i];
      }
      if (state.sum != nullptr) continue;
      T* weight = params.weight + tap * s.out + channel(j);
      if (state.momentum == nullptr) {
        kernels.sgd({weight, g, nullptr, count, rules.weight.now});
        continue;
      }
      for (Index i = 0; i < count; ++i) {
        kernels.sgd({weight + i, g + i, state.momentum + (j + i) * taps + tap, 1, rules.weight.now});
      }
    }
  }
}

template <class T>
void Layer<T>::update_shift(const Kernels<T>& kernels, Index begin, Index count, const T* sums, const T* scale) {
  count = std::min(count, training_outputs() - begin);
  if (!spec.trains_bias() || count <= 0) return;
  T bias_grad[kPanel];
  for (Index c = 0; c < count; ++c) bias_grad[c] = scale != nullptr ? sums[c] * scale[c] : sums[c];
  const auto train = [&](T* weight, const T* grad, T* momentum, T* sum, const Rule& rule, float* squares) {
    if (weight == nullptr) return;
    for (Index c = 0; c < count && squares != nullptr; ++c) {
      squares[begin / kPanel] += static_cast<float>(grad[c] * grad[c]);
    }
    if (sum != nullptr) {
      for (Index c = 0; c < count; ++c) sum[begin + c] += grad[c];
    } else if (rule.on) {
      T* moving = momentum != nullptr ? momentum + begin : nullptr;
      kernels.sgd({weight + begin, grad, moving, count, rule.now});
    }
  };
  train(params.bias, bias_grad, state.bias_momentum, state.bias_sum, rules.bias, squared_norms.bias);
  train(params.beta, sums, state.beta_momentum, state.beta_sum, rules.beta, squared_norms.beta);
}

template <class T>
void Layer<T>::update_statistics() {
  for (Index j = 0; j < spec.selected && state.scores != nullptr; ++j) {
    float& score = state.scores[channel(j)];
    score = updated_score(score, squared_norms.rows[j]);
  }
  const auto update = [](MeanSquare* square, const Rule& rule, const float* squares, Index terms, Index elements) {
    if (square == nullptr || squares == nullptr || rule.square_decay == 0 || !rule.on) return;
    double total = 0;
    for (Index i = 0; i < terms; ++i) total += static_cast<double>(squares[i]);
    square->add(total / static_cast<double>(elements), rule.square_decay);
  };
  const Index panels = div_up(spec.shape.out, kPanel);
  // With gradient sums the squared norms are there for the scores alone; `apply` squares the sums.
  update(state.sum == nullptr ? state.square : nullptr, rules.weight, squared_norms.rows, spec.selected,
         training_weights());
  update(state.bias_square, rules.bias, squared_norms.bias, panels, training_outputs());
  update(state.beta_square, rules.beta, squared_norms.beta, panels, training_outputs());
  squared_norms = {};
}

template <class T>
void Layer<T>::set_spare(Index count) {
  const ConvShape& s = spec.shape;
  const auto clear = [&](T* numbers, Index rows) {
    for (Index row = 0; row < rows && numbers != nullptr && count < spare; ++row) {
      std::fill_n(numbers + row * s.out + training_outputs(), spare - count, T(0));
    }
  };
  clear(params.weight, s.taps() * s.in);
  clear(params.bias, 1);
  clear(state.momentum, spec.selected * s.taps());
  clear(state.bias_momentum, 1);
  spare = count;
}

namespace {

// The step to take with a whole gradient at hand, of which `training` elements train and the others are zero: its own
// square counts already.
template <class T>
Sgd step_of_sums(const Rule& rule, MeanSquare* square, const T* grad, Index count, Index training) {
  if (square != nullptr && rule.square_decay != 0) {
    double total = 0;
    for (Index i = 0; i < count; ++i) total += static_cast<double>(grad[i]) * static_cast<double>(grad[i]);
    square->add(total / static_cast<double>(training), rule.square_decay);
  }
  return rule.step_after(square);
}

}  // namespace

template <class T>
void Layer<T>::apply(const Kernels<T>& kernels) {
  const ConvShape& s = spec.shape;
  if (state.sum != nullptr && rules.weight.on) {
    const Sgd rule = step_of_sums(rules.weight, state.square, state.sum, sum_count(), training_weights());
    for (Index j = 0; j < spec.selected; ++j) {
      const Index u = channel(j) % s.in_per_group(), first = channel(j) / s.in_per_group() * s.out_per_group();
      for (Index tap = 0; tap < s.taps(); ++tap) {
        const Index row = (j * s.taps() + tap) * s.out_per_group();
        kernels.sgd({params.weight + (tap * s.in_per_group() + u) * s.out + first, state.sum + row,
                     state.momentum != nullptr ? state.momentum + row : nullptr, s.out_per_group() - spare, rule});
      }
    }
  }
  const auto train = [&](T* weight, T* sum, T* momentum, const Rule& rule, MeanSquare* square) {
    if (sum == nullptr) return;
    const Index count = training_outputs();
    if (rule.on) kernels.sgd({weight, sum, momentum, count, step_of_sums(rule, square, sum, count, count)});
    std::fill_n(sum, s.out, T(0));
  };
  train(params.bias, state.bias_sum, state.bias_momentum, rules.bias, state.bias_square);
  train(params.beta, state.beta_sum, state.beta_momentum, rules.beta, state.beta_square);
  if (state.sum != nullptr) std::fill_n(state.sum, sum_count(), T(0));
}

template class Layer<float>;
template class Layer<double>;

}  // namespace sparsebp
