// A convolution forward, and its backward pass towards its input, split over threads along output elements only, so
// that results do not depend on the number of threads.
#pragma once

#include "program/layer.h"
#include "program/op.h"
#include "program/product.h"

namespace sparsebp {

// y = activation(scale * (W * x) + shift) for a whole layer and batch.
template <class T>
void conv_forward(const Kernels<T>& kernels, const Layer<T>& layer, Index images, const T* x, T* y,
                  const Affine<T>& affine);

// The same for output rows `out` of one image, without a mask.
template <class T>
void conv_forward_rows(const Kernels<T>& kernels, const Layer<T>& layer, Rows<const T> x, Rows<T> y, Range out,
                       const Affine<T>& affine);

// y = activation(scale * y + shift) for some columns of a matrix.
template <class T>
void affine_in_place(const Kernels<T>& kernels, T* y, Index y_row, Index rows, Index columns, const Affine<T>& affine);

// The same as conv_forward for a transposed layer.
template <class T>
void transposed_forward(const Kernels<T>& kernels, const Layer<T>& layer, Index images, const T* x, T* y,
                        const Affine<T>& affine);

// Up to so many pixels, the input gradient of a pointwise layer packs the gradient and not the weights: measured on
// AVX2, with weights out of the cache, that is 1.2 to 2.5 times as fast at 16, 49 and 64 pixels.
constexpr Index kFewPixels = 64;

// Elements of scratch pack_gradient wants.
constexpr Index packed_gradient(Index pixels, Index channels) { return div_up(pixels, kPanel) * kPanel * channels; }

// Whether to, where otherwise weights of `columns` input channels would be held packed: never for more bytes than that.
inline bool packs_gradient(const ConvShape& s, Index batch, Index columns) {
  const Index pixels = batch * s.out_pixels();
  return s.pointwise() && s.groups == 1 && pixels <= kFewPixels && packed_gradient(pixels, 1) <= columns;
}

// A panel of so many rows costs as much to pack as so many multiply-adds.
constexpr Index pack_work(Index rows) { return 10 * rows * kPanel; }

// The gradient of `pixels` pixels, scaled and transposed, as panels for gemm_transposed.
template <class T>
void pack_gradient(const Kernels<T>& kernels, const OutputGrad<T>& grad, Index pixels, T* panels);

// c (+)= W^T g for `count` input channels of a pointwise layer from `first` on, from the panels of g's `channels`
// output channels from `out_first` on.
template <class T>
void packed_input_grad(const Kernels<T>& kernels, const Layer<T>& layer, Index first, Index count, Index out_first,
                       Index channels, const T* panels, Index pixels, T* c, Index c_row, bool accumulate);

// Panels of weights held at once by conv_backward; also the most threads it can use.
constexpr Index kPanelSlots = 8;

// Elements of scratch conv_backward wants for `out_count` output channels at a time.
Index conv_backward_scratch(const ConvShape& shape, Index batch, Index out_count);

// Of a convolution, transposed or not: dx (+)= W^T (scale * dz), then trains the layer's selected weight rows with the
// same dz: dx is computed with
// the weights of the forward pass. `dx` null: weights only. `panels` null is allowed with dx null.
template <class T>
void conv_backward(const Context<T>& context, Layer<T>& layer, const OutputGrad<T>& grad, const Slice<T>& saved, T* dx,
                   bool accumulate, T* panels);

}  // namespace sparsebp
