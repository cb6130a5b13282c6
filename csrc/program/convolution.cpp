#include "program/convolution.h"

#include <algorithm>

#include "platform/parallel.h"

namespace sparsebp {
namespace {

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

#define SPARSEBP_INSTANTIATE(T)                                                                             \
  template void conv_forward<T>(const Kernels<T>&, const Layer<T>&, Index, const T*, T*, const Affine<T>&); \
  template void conv_forward_rows<T>(const Kernels<T>&, const Layer<T>&, Rows<const T>, Rows<T>, Range,     \
                                     const Affine<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
