#include "program/convolution.h"

#include <algorithm>

#include "platform/parallel.h"

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
  if (!accumulate && !s.pointwise()) clear_columns(dx + columns.begin, images * s.pixels(), s.in, columns.count);
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
      if (s.pointwise()) {
        args.rows = images * s.pixels();
        args.store = k == 0 && !accumulate ? Store::assign : Store::accumulate;
        kernels.gemm(args);
      } else {
        args.store = Store::accumulate;
        add_tap(kernels, layer.spec, images, tap, args);
      }
    }
  }
}

// One output row of one image, of all groups.
template <class T>
void conv_row(const Kernels<T>& kernels, const Layer<T>& layer, ConvForwardArgs<T>& args) {
  const ConvShape& s = layer.spec.shape;
  std::uint8_t* mask = args.affine.mask;
  // Columns of a group need not start at a whole mask byte: with groups, the mask is packed in a second pass.
  if (s.groups > 1) args.affine.mask = nullptr;
  for (Index g = 0; g < s.groups; ++g) {
    args.col_begin = g * s.out_per_group(), args.col_end = args.col_begin + s.out_per_group();
    kernels.conv_forward(args);
  }
  if (s.groups == 1 || mask == nullptr) return;
  const Index mask_row = args.affine.mask_row;
  T* row = args.y + (args.row_begin - args.y_begin) * s.out_width * s.out;
  kernels.activation_forward({row, row, s.out, s.out_width, s.out, args.affine.activation,
                              mask + args.row_begin * s.out_width * mask_row, mask_row});
}

template <class T>
void pointwise_forward(const Kernels<T>& kernels, const Layer<T>& layer, Index pixels, const T* x, T* y,
                       const Affine<T>& affine) {
  const ConvShape& s = layer.spec.shape;
  GemmArgs<T> args{};
  args.a = x, args.a_row = s.in;
  args.b = layer.params.weight;
  args.c = y, args.c_row = s.out;
  args.rows = pixels, args.cols = s.out;
  args.sum.n1 = s.in, args.sum.b1 = s.out;
  args.store = Store::affine, args.affine = affine;
  parallel_gemm(kernels, args);
}

}  // namespace

template <class T>
void conv_forward(const Kernels<T>& kernels, const Layer<T>& layer, Index images, const T* x, T* y,
                  const Affine<T>& affine) {
  const ConvShape& s = layer.spec.shape;
  if (s.pointwise() && s.groups == 1) {
    pointwise_forward(kernels, layer, images * s.pixels(), x, y, affine);
    return;
  }
  parallel_for(images * s.out_height, s.out_width * s.weights(), [&](Index unit) {
    const Index n = unit / s.out_height, oy = unit % s.out_height;
    ConvForwardArgs<T> args{};
    args.shape = s;
    args.x = x + n * s.pixels() * s.in, args.weight = layer.params.weight, args.y = y + n * s.out_pixels() * s.out;
    args.row_begin = oy, args.row_end = oy + 1;
    args.affine = affine;
    if (affine.mask != nullptr) args.affine.mask += n * s.out_pixels() * affine.mask_row;
    conv_row(kernels, layer, args);
  });
}

template <class T>
void conv_forward_rows(const Kernels<T>& kernels, const Layer<T>& layer, Rows<const T> x, Rows<T> y, Range out,
                       const Affine<T>& affine) {
  const ConvShape& s = layer.spec.shape;
  if (s.pointwise() && s.groups == 1) {
    pointwise_forward(kernels, layer, (out.end - out.begin) * s.out_width,
                      x.data + (out.begin - x.begin) * s.width * s.in,
                      y.data + (out.begin - y.begin) * s.out_width * s.out, affine);
    return;
  }
  parallel_for(out.end - out.begin, s.out_width * s.weights(), [&](Index unit) {
    ConvForwardArgs<T> args{};
    args.shape = s;
    args.x = x.data, args.weight = layer.params.weight, args.y = y.data;
    args.row_begin = out.begin + unit, args.row_end = args.row_begin + 1;
    args.x_begin = x.begin, args.y_begin = y.begin;
    args.affine = affine;
    conv_row(kernels, layer, args);
  });
}

template <class T>
void pack_gradient(const Kernels<T>& kernels, const OutputGrad<T>& grad, Index pixels, T* panels) {
  for (Index m = 0; m < pixels; m += kPanel) {
    PackArgs<T> args{};
    args.source = grad.dz + m * grad.row, args.source_row = grad.row;
    args.scale = grad.scale;
    args.panel = panels + m * grad.count, args.rows = grad.count, args.cols = std::min(kPanel, pixels - m);
    kernels.pack(args);
  }
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

// Output columns of one unit: four panels, the widest tile of a weight gradient.
constexpr Index kColumnRun = 4 * kPanel;

// Trains the weights where nobody wants an input gradient. Units are runs of output columns: there may be one row only.
template <class T>
void weights_backward(const Context<T>& context, Layer<T>& layer, const OutputGrad<T>& grad, const Slice<T>& saved) {
  const ConvShape& s = layer.spec.shape;
  // With groups a row has a group's columns only; and the squared norms of a row are summed by one thread.
  const Index run = s.groups > 1 || layer.squared_norms.rows != nullptr ? grad.count : kColumnRun;
  const Index work = context.images * s.out_pixels() * s.taps() * run * layer.spec.selected;
  parallel_for(div_up(grad.count, run), work, [&](Index unit) {
    const Index first = unit * run;
    const OutputGrad<T> part{grad.dz + first, grad.row, grad.begin + first, std::min(run, grad.count - first),
                             grad.scale != nullptr ? grad.scale + first : nullptr};
    layer.update_weight(*context.kernels, context.images, part, saved, 0, s.in);
  });
}

}  // namespace

template <class T>
void conv_backward(const Context<T>& context, Layer<T>& layer, const OutputGrad<T>& grad, const Slice<T>& saved, T* dx,
                   bool accumulate, T* panels) {
  const Kernels<T>& kernels = *context.kernels;
  const ConvShape& s = layer.spec.shape;
  const Index images = context.images, pixels = images * s.out_pixels();
  const Index units = input_units(s), slot = panel_rows(s, grad.count) * kPanel;
  if (dx == nullptr) return weights_backward(context, layer, grad, saved);
  const bool packs = packs_gradient(s, context.batch, packed_weights(s));
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
  template void conv_forward<T>(const Kernels<T>&, const Layer<T>&, Index, const T*, T*, const Affine<T>&);           \
  template void conv_forward_rows<T>(const Kernels<T>&, const Layer<T>&, Rows<const T>, Rows<T>, Range,               \
                                     const Affine<T>&);                                                               \
  template void pack_gradient<T>(const Kernels<T>&, const OutputGrad<T>&, Index, T*);                                 \
  template void packed_input_grad<T>(const Kernels<T>&, const Layer<T>&, Index, Index, Index, Index, const T*, Index, \
                                     T*, Index, bool);                                                                \
  template void conv_backward<T>(const Context<T>&, Layer<T>&, const OutputGrad<T>&, const Slice<T>&, T*, bool, T*);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
