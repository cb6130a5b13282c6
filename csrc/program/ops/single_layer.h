// What ops of one layer share: convolutions of every kind, and norms on their own.
#pragma once

#include <algorithm>

#include "platform/parallel.h"
#include "program/ops/conv_buffers.h"

namespace sparsebp {

// The folded batch norm, the mask, the saved slice, and dz from dy.
template <class T>
class SingleLayer : public ConvBuffers<T> {
 public:
  using ConvBuffers<T>::ConvBuffers;

 protected:
  Affine<T> fold(Context<T>& context, const Layer<T>& layer) const {
    const Index out = layer.spec.shape.out;
    T* fold = context.workspace->template acquire<T>(this->fold_, 2 * out);
    layer.fold(*context.kernels, 0, out, fold, fold + out);
    Affine<T> affine;
    affine.scale = layer.spec.has_scale() ? fold : nullptr;
    affine.shift = fold + out;
    affine.activation = layer.spec.activation;
    return affine;
  }

  Affine<T> begin_forward(Context<T>& context, Layer<T>& layer, const T* x) {
    const ConvShape& s = layer.spec.shape;
    Affine<T> affine = fold(context, layer);
    if (!context.save) return affine;
    affine.mask_row = mask_row_bytes(s.out);
    affine.mask = this->acquire_mask(context);
    if (T* saved = this->acquire_saved(context)) {
      const Index rows = context.images * s.height, k = layer.spec.selected;
      parallel_for(rows, s.width * k, [&](Index row) {
        layer.save(*context.kernels, x + row * s.width * s.in, s.in, s.width, 0, s.in,
                   layer.slice(saved + row * s.width * k));
      });
    }
    return affine;
  }

  // dz before the batch norm's scale, masked; trains bias and shift on the way.
  OutputGrad<T> begin_backward(Context<T>& context, Layer<T>& layer) {
    const ConvShape& s = layer.spec.shape;
    const Index rows = context.images * s.out_pixels();
    T* dz = context.grads[static_cast<std::size_t>(this->spec.output)];
    if (T* own = this->acquire_dz(context)) {
      std::copy_n(dz, rows * s.out, own);
      dz = own;
    }
    T* scale = this->acquire_scale(context);
    if (scale != nullptr) layer.fold(*context.kernels, 0, s.out, scale, nullptr);
    const std::uint8_t* mask = this->mask(context);
    if (mask != nullptr || layer.spec.trains_bias()) {
      parallel_for(div_up(s.out, kPanel), rows * kPanel, [&](Index unit) {
        const Index c = unit * kPanel;
        T sums[kPanel];
        MaskArgs<T> args{};
        args.g = dz + c, args.g_row = s.out;
        args.mask = mask != nullptr ? mask + c / 8 : nullptr, args.mask_row = mask_row_bytes(s.out);
        args.rows = rows, args.cols = std::min(kPanel, s.out - c);
        args.sum = layer.spec.trains_bias() ? sums : nullptr;
        context.kernels->mask(args);
        layer.update_shift(*context.kernels, c, args.cols, sums, layer.spec.has_norm ? scale + c : nullptr);
      });
    }
    return {dz, s.out, 0, s.out, scale};
  }
};

}  // namespace sparsebp
