// A transposed convolution, forward: every tap adds its products to the pixels that it reaches.
#include <algorithm>

#include "platform/parallel.h"
#include "program/convolution.h"

namespace sparsebp {

template <class T>
void affine_in_place(const Kernels<T>& kernels, T* y, Index y_row, Index rows, Index columns, const Affine<T>& affine) {
  GemmArgs<T> args{};  // a sum of no terms
  args.a = y, args.b = y, args.c = y, args.c_row = y_row;
  args.rows = rows, args.cols = columns;
  args.sum.n1 = 0;
  args.store = Store::accumulate_affine, args.affine = affine;
  kernels.gemm(args);
}

template <class T>
void transposed_forward(const Kernels<T>& kernels, const Layer<T>& layer, Index images, const T* x, T* y,
                        const Affine<T>& affine) {
  const ConvShape& s = layer.spec.shape;
  const Index width = s.out_per_group(), panels = div_up(width, kPanel), units = s.groups * panels;
  // Columns of a group need not begin with a byte of the mask: with groups it is written in a second pass.
  std::uint8_t* mask = s.groups == 1 ? affine.mask : nullptr;
  parallel_for(images * units, s.pixels() * s.taps() * s.in_per_group() * kPanel, [&](Index unit) {
    const Index n = unit / units, group = unit % units / panels, local = unit % panels * kPanel;
    const Index col = group * width + local, columns = std::min(kPanel, width - local);
    T* image = y + n * s.out_pixels() * s.out + col;
    for (Index m = 0; m < s.out_pixels(); ++m) std::fill_n(image + m * s.out, columns, T(0));
    for (Index tap = 0; tap < s.taps(); ++tap) {
      const TapPairs pairs = transposed_pairs(s, tap);
      GemmArgs<T> args{};
      args.a_row = pairs.in_step_w * s.in;
      args.b = layer.params.weight + tap * s.in_per_group() * s.out + col;
      args.c_row = pairs.out_step_w * s.out;
      args.rows = pairs.columns, args.cols = columns;
      args.sum.n1 = s.in_per_group(), args.sum.b1 = s.out;
      args.store = Store::accumulate;
      for (Index row = 0; row < pairs.rows && args.rows > 0; ++row) {
        args.a = x + (n * s.pixels() + (pairs.in_y + row * pairs.in_step_h) * s.width + pairs.in_x) * s.in +
                 group * s.in_per_group();
        args.c = image + ((pairs.out_y + row * pairs.out_step_h) * s.out_width + pairs.out_x) * s.out;
        kernels.gemm(args);
      }
    }
    Affine<T> part = affine;
    if (part.scale != nullptr) part.scale += col;
    if (part.shift != nullptr) part.shift += col;
    part.mask = mask != nullptr ? mask + n * s.out_pixels() * affine.mask_row + col / 8 : nullptr;
    affine_in_place(kernels, image, s.out, s.out_pixels(), columns, part);
  });
  if (s.groups > 1 && affine.mask != nullptr) {
    kernels.activation_forward(
        {y, y, s.out, images * s.out_pixels(), s.out, affine.activation, affine.mask, affine.mask_row});
  }
}

template void affine_in_place<float>(const Kernels<float>&, float*, Index, Index, Index, const Affine<float>&);
template void affine_in_place<double>(const Kernels<double>&, double*, Index, Index, Index, const Affine<double>&);
template void transposed_forward<float>(const Kernels<float>&, const Layer<float>&, Index, const float*, float*,
                                        const Affine<float>&);
template void transposed_forward<double>(const Kernels<double>&, const Layer<double>&, Index, const double*, double*,
                                         const Affine<double>&);

}  // namespace sparsebp
