// Products shared by the ops, split over threads: a convolution forward, and the backward pass of one towards its
// input. Work is split along output elements only, so results do not depend on the number of threads.
#pragma once

#include "program/layer.h"

namespace sparsebp {

// c (rows x cols) from a (rows x k) and b (k x cols), in units of a run of rows and kPanel columns.
template <class T>
void parallel_gemm(const Kernels<T>& kernels, const GemmArgs<T>& args);

// y = activation(scale * (W * x) + shift) for a whole layer and batch.
template <class T>
void conv_forward(const Kernels<T>& kernels, const Layer<T>& layer, Index images, const T* x, T* y,
                  const Affine<T>& affine);

// Panels held at once by conv_backward; also the most threads it can use.
constexpr Index kPanelSlots = 8;

// Elements of scratch conv_backward wants for `out_count` output channels at a time.
Index conv_backward_scratch(const ConvShape& shape, Index out_count);

// dx (+)= W^T (scale * dz), then trains the layer's selected weight rows with the same dz: dx is computed with
// the weights of the forward pass. `dx` null: weights only. `panels` null is allowed with dx null.
template <class T>
void conv_backward(const Kernels<T>& kernels, Layer<T>& layer, Index images, const OutputGrad<T>& grad, const T* saved,
                   T* dx, bool accumulate, T* panels);

}  // namespace sparsebp
