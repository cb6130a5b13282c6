// A convolution's backward pass. A pointwise one is a product of whole matrices, in one of two ways; others go tap by
// tap.
#include <algorithm>

#include "platform/parallel.h"
#include "program/convolution.h"

namespace sparsebp {
namespace {

// Columns of the input gradient, two panels at most: channels [begin, begin + count) of the input, all in `group`.
struct InputColumns {
  Index begin, count, group;
};

InputColumns input_columns(const ConvShape& s, Index unit) {
  const Index per_group = div_up(s.in_per_group(), kPanel);
  const Index group = unit / per_group, local = unit % per_group * kPanel;
  return {group * s.in_per_group() + local, std::min(kPanel, s.in_per_group() - local), group};
}

Index input_units(const ConvShape& s) { return s.groups * div_up(s.in_per_group(), kPanel); }

// Input channels whose weights conv_backward holds packed at once.
Index packed_weights(const ConvShape& s) { return std::min(kPanelSlots, input_units(s)) * kPanel; }

Index panel_rows(const ConvShape& s, Index out_count) {
  return std::min(s.groups == 1 ? out_count : s.out_per_group(), kPanelRows);
}

TapPairs pairs_of(const LayerSpec& layer, Index tap) {
  return layer.kind == LayerKind::transposed ? transposed_pairs(layer.shape, tap) : tap_pairs(layer.shape, tap);
}

// One tap's share of the input gradient, for some columns: dx rows that the tap reaches get dz (rows x k) times the
// packed panels (k x count).
template <class T>
void add_tap(const Kernels<T>& kernels, const LayerSpec& layer, Index images, Index tap, GemmArgs<T> args) {
  const ConvShape& s = layer.shape;
  const TapPairs pairs = pairs_of(layer, tap);
  const T* dz = args.a;
  T* dx = args.c;
  const Index dz_row = args.a_row;
  args.rows = pairs.columns;
  args.a_row = pairs.out_step_w * dz_row, args.c_row = pairs.in_step_w * s.in;
  if (args.rows == 0) return;
  for (Index n = 0; n < images; ++n) {
    for (Index y = 0; y < pairs.rows; ++y) {
      const Index out = (pairs.out_y + y * pairs.out_step_h) * s.out_width + pairs.out_x;
      const Index in = (pairs.in_y + y * pairs.in_step_h) * s.width + pairs.in_x;
      args.a = dz + (n * s.out_pixels() + out) * dz_row;
      args.c = dx + (n * s.pixels() + in) * s.in;
      kernels.gemm(args);
    }
  }
}

template <class T>
void clear_columns(T* dx, Index pixels, Index row, Index count) {
  for (Index m = 0; m < pixels; ++m) std::fill_n(dx + m * row, count, T(0));
}

// The input gradient of some columns; their panels of weights lie `slot` elements apart.
template <class T>
void input_grad_columns(const Kernels<T>& kernels, const Layer<T>& layer, Index images, const OutputGrad<T>& grad,
                        const InputColumns& columns, T* dx, bool accumulate, T* panels, Index slot) {
  const ConvShape& s = layer.spec.shape;
  const Index first = s.groups == 1 ? grad.begin : columns.group * s.out_per_group();
  const Index count = s.groups == 1 ? grad.count : s.out_per_group();
  const Index offset = first - grad.begin;
  if (!accumulate) clear_columns(dx + columns.begin, images * s.pixels(), s.in, columns.count);
  for (Index tap = 0; tap < s.taps(); ++tap) {
    for (Index k = 0; k < count; k += kPanelRows) {
      const Index rows = std::min(kPanelRows, count - k);
      for (Index done = 0; done < columns.count; done += kPanel) {
        PackArgs<T> pack{};
        pack.source = layer.params.weight + (tap * s.in_per_group() + columns.begin % s.in_per_group() + done) * s.out +
                      first + k;
        pack.source_row = s.out;
        pack.scale = grad.scale != nullptr ? grad.scale + offset + k : nullptr;
        pack.panel = panels + done / kPanel * slot;
        pack.rows = rows, pack.cols = std::min(kPanel, columns.count - done);
        kernels.pack(pack);
      }
      GemmArgs<T> args{};
      args.a = grad.dz + offset + k, args.a_row = grad.row;
      args.b = panels, args.b_panel = slot;
      args.c = dx + columns.begin, args.c_row = s.in;
      args.cols = columns.count;
      args.sum.n1 = rows, args.sum.b1 = kPanel;
      args.store = Store::accumulate;
      add_tap(kernels, layer.spec, images, tap, args);
    }
  }
}

}  // namespace

template <class T>
void pack_gradient(const Kernels<T>& kernels, const OutputGrad<T>& grad, Index pixels, T* panels) {
  const auto pack = [&](const OutputGrad<T>& part) {
    T* first = panels + (part.begin - grad.begin) * kPanel;
    for (Index m = 0; m < pixels; m += kPanel) {
      PackArgs<T> args{};
      args.source = part.dz + m * part.row, args.source_row = part.row;
      args.scale = part.scale;
      args.panel = first + m * grad.count, args.rows = part.count, args.cols = std::min(kPanel, pixels - m);
      kernels.pack(args);
    }
  };
  if (grad.parts.count == 0) pack(grad);
  for (Index i = 0; i < grad.parts.count; ++i) pack(grad.part(i, pixels));
}

template <class T>
void packed_input_grad(const Kernels<T>& kernels, const Layer<T>& layer, Index first, Index count, Index out_first,
                       Index channels, const T* panels, Index pixels, T* c, Index c_row, bool accumulate) {
  const Index out = layer.spec.shape.out;
  GemmTransposedArgs<T> args{};
  args.a = layer.params.weight + first * out + out_first, args.a_row = out;
  args.panels = panels, args.panel = channels * kPanel;
  args.c = c, args.c_row = c_row;
  args.rows = pixels, args.cols = count, args.k = channels;
  args.accumulate = accumulate;
  kernels.gemm_transposed(args);
}

Index conv_backward_scratch(const ConvShape& s, Index batch, Index out_count) {
  if (packs_gradient(s, batch, packed_weights(s))) return packed_gradient(batch * s.out_pixels(), out_count);
  return packed_weights(s) * panel_rows(s, out_count);
}

namespace {

// How threads share the training of a layer's weights: units are runs of output columns, in which all selected rows are
// trained by what is read once. Where a row must stay whole, for with groups it has a group's columns only, and its
// squared norm is one thread's sum, they are runs of input channels.
template <class T>
class WeightUnits {
 public:
  WeightUnits(const Context<T>& context, Layer<T>& layer, const OutputGrad<T>& grad, const Slice<T>& saved)
      : context_(context), layer_(layer), grad_(grad), saved_(saved) {
    const ConvShape& s = layer.spec.shape;
    if (!layer.wants_weight_grad() || saved.data == nullptr) return;
    whole_ = s.groups > 1 || layer.squared_norms.rows != nullptr;
    const Index most = part(parts() - 1).count;  // of the parts the last one is the widest
    run_ = whole_ || parts() * div_up(most, kWidest) < 2 * thread_count() ? kPair : kWidest;
    per_part_ = div_up(whole_ ? s.in : most, run_);
  }

  Index count() const { return whole_ ? per_part_ : parts() * per_part_; }
  // Multiply-adds of a unit, about.
  Index work() const {
    const ConvShape& s = layer_.spec.shape;
    const Index weights = whole_ ? layer_.spec.selected * grad_.count * run_ / s.in : layer_.spec.selected * run_;
    return context_.images * s.out_pixels() * s.taps() * weights;
  }
  void train(Index unit) const {
    const Index in = layer_.spec.shape.in, first = unit % per_part_ * run_;
    if (whole_) return update(grad_, first, std::min(run_, in - first));
    const OutputGrad<T> own = part(unit / per_part_);
    if (first < own.count) update(own.columns(first, std::min(run_, own.count - first)), 0, in);
  }

 private:
  static constexpr Index kWidest = 4 * kPanel;  // the widest tile of a weight gradient but for that of a single row

  Index parts() const { return std::max<Index>(grad_.parts.count, 1); }
  OutputGrad<T> part(Index i) const {
    return grad_.parts.count > 0 ? grad_.part(i, context_.images * layer_.spec.shape.out_pixels()) : grad_;
  }
  void update(const OutputGrad<T>& grad, Index begin, Index count) const {
    layer_.update_weight(*context_.kernels, context_.images, grad, saved_, begin, count);
  }

  const Context<T>& context_;
  Layer<T>& layer_;
  const OutputGrad<T>& grad_;
  const Slice<T>& saved_;
  bool whole_ = false;
  Index run_ = kPair, per_part_ = 0;
};

// The same as conv_backward for a pointwise layer that packs its weights. Threads share the rows of dx, which each of
// them adds to again and again, and with the last of them the weights to train: all packed ones are those of the
// forward pass.
template <class T>
void pointwise_backward(const Context<T>& context, Layer<T>& layer, const OutputGrad<T>& grad, const Slice<T>& saved,
                        T* dx, bool accumulate, T* panels) {
  const Kernels<T>& kernels = *context.kernels;
  const ConvShape& s = layer.spec.shape;
  const Index pixels = context.images * s.pixels(), most = packed_weights(s), slot = panel_rows(s, grad.count) * kPanel;
  const Index run = rows_of_a_unit(pixels), runs = div_up(pixels, run);
  const WeightUnits<T> updates(context, layer, grad, saved);
  for (Index begin = 0; begin < s.in; begin += most) {
    const Index columns = std::min(most, s.in - begin);
    for (Index k = 0; k < grad.count; k += kPanelRows) {
      const Index end = std::min(k + kPanelRows, grad.count);
      parallel_for(div_up(columns, kPanel), pack_work(end - k), [&](Index i) {
        const Index column = i * kPanel;
        kernels.pack({layer.params.weight + (begin + column) * s.out + grad.begin + k, s.out,
                      grad.scale != nullptr ? grad.scale + k : nullptr, panels + i * slot, end - k,
                      std::min(kPanel, columns - column)});
      });
      // Rows [row, row + count) of dx, from those of the gradient's channels that are packed and lie in `part`.
      const auto add = [&](const OutputGrad<T>& part, Index row, Index count) {
        const Index offset = part.begin - grad.begin;
        const Index from = std::max(k, offset), to = std::min(end, offset + part.count);
        if (from >= to) return;
        GemmArgs<T> args{};
        args.a = part.dz + row * part.row + from - offset, args.a_row = part.row;
        args.b = panels + (from - k) * kPanel, args.b_panel = slot;
        args.c = dx + row * s.in + begin, args.c_row = s.in;
        args.rows = count, args.cols = columns;
        args.sum.n1 = to - from, args.sum.b1 = kPanel;
        // The sum goes on where it ended, so that its bits do not depend on the parts.
        args.start = from == 0 && !accumulate ? Start::zero : Start::output;
        args.store = Store::assign;
        kernels.gemm(args);
      };
      const bool last = end == grad.count && begin + columns == s.in;
      const Index trained = last ? updates.count() : 0;
      const Index units = runs + trained;  // spread evenly, so that every thread has some of both
      const Index work = std::max(run * columns * (end - k), trained > 0 ? updates.work() : 0);
      parallel_for(units, work, [&](Index i) {
        const Index update = i * trained / units;
        if ((i + 1) * trained / units > update) return updates.train(update);
        const Index row = (i - update) * run, count = std::min(run, pixels - row);
        if (grad.parts.count == 0) add(grad, row, count);
        for (Index part = 0; part < grad.parts.count; ++part) add(grad.part(part, pixels), row, count);
      });
    }
  }
}

}  // namespace

template <class T>
void conv_backward(const Context<T>& context, Layer<T>& layer, const OutputGrad<T>& grad, const Slice<T>& saved, T* dx,
                   bool accumulate, T* panels) {
  const Kernels<T>& kernels = *context.kernels;
  const ConvShape& s = layer.spec.shape;
  const Index images = context.images, pixels = images * s.out_pixels();
  const Index units = input_units(s), slot = panel_rows(s, grad.count) * kPanel;
  if (dx == nullptr) {
    const WeightUnits<T> updates(context, layer, grad, saved);
    parallel_for(updates.count(), updates.work(), [&](Index unit) { updates.train(unit); });
    return;
  }
  const bool packs = packs_gradient(s, context.batch, packed_weights(s));
  if (s.pointwise() && s.groups == 1 && !packs) {
    return pointwise_backward(context, layer, grad, saved, dx, accumulate, panels);
  }
  if (packs) pack_gradient(kernels, grad, pixels, panels);
  // Packed weights take waves of at most kPanelSlots units: the scratch is shared by the threads, not multiplied by
  // them.
  const Index wave = packs ? units : kPanelSlots;
  const Index out = s.groups == 1 ? grad.count : s.out_per_group();
  const Index work = pixels * out * s.taps() * kPanel;
  const auto columns_backward = [&](const InputColumns& columns, Index panel) {
    if (packs) {
      packed_input_grad(kernels, layer, columns.begin, columns.count, grad.begin, grad.count, panels, pixels,
                        dx + columns.begin, s.in, accumulate);
    } else {
      input_grad_columns(kernels, layer, images, grad, columns, dx, accumulate, panels + panel * slot, slot);
    }
    layer.update_weight(kernels, images, grad, saved, columns.begin, columns.count);
  };
  for (Index first = 0; first < units; first += wave) {
    const Index count = std::min(wave, units - first);
    if (s.groups == 1) {
      const Index begin = first * kPanel;
      for_columns(kernels, std::min(count * kPanel, s.in - begin), work, [&](Index column, Index columns) {
        columns_backward({begin + column, columns, 0}, column / kPanel);
      });
    } else {
      parallel_for(count, work, [&](Index i) { columns_backward(input_columns(s, first + i), i); });
    }
  }
}

#define SPARSEBP_INSTANTIATE(T)                                                                                       \
  template void pack_gradient<T>(const Kernels<T>&, const OutputGrad<T>&, Index, T*);                                 \
  template void packed_input_grad<T>(const Kernels<T>&, const Layer<T>&, Index, Index, Index, Index, const T*, Index, \
                                     T*, Index, bool);                                                                \
  template void conv_backward<T>(const Context<T>&, Layer<T>&, const OutputGrad<T>&, const Slice<T>&, T*, bool, T*);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
