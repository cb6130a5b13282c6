// What an op of one layer acquires while it runs, wherever that is: what a forward pass leaves for the backward pass.
#pragma once

#include "program/op.h"

namespace sparsebp {

template <class T>
class LayerBuffers : public Op<T> {
 protected:
  LayerBuffers(const OpSpec& op, const Declare<T>& declare)
      : Op<T>(op), layer_(op.layers.at(0)), input_grad_(declare.input_grad) {}

  // In the span only, which the caller sees to.
  void declare_saved(const LayerSpec& layer, const Declare<T>& declare) {
    const ConvShape& s = layer.shape;
    if (layer.selected > 0) saved_ = declare.saved(layer_, declare.batch * s.pixels() * layer.selected);
    if (layer.activation == Activation::identity) return;
    mask_ = declare.mask(layer_, declare.batch * s.out_pixels() * mask_row_bytes(s.out));
  }

  // While a forward pass saves: null where backward needs none.
  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (mask_ < 0) return nullptr;
    const ConvShape& s = layer(context).spec.shape;
    const Index count = context.images * s.out_pixels() * mask_row_bytes(s.out);
    return context.training.template acquire<std::uint8_t>(mask_, count);
  }
  T* acquire_saved(Context<T>& context) const {
    if (saved_ < 0) return nullptr;
    const LayerSpec& trained = layer(context).spec;
    return context.training.template acquire<T>(saved_, context.images * trained.shape.pixels() * trained.selected);
  }

  T* saved(Context<T>& context) const { return saved_ >= 0 ? context.training.template at<T>(saved_) : nullptr; }
  const std::uint8_t* mask(Context<T>& context) const {
    return mask_ >= 0 ? context.training.template at<std::uint8_t>(mask_) : nullptr;
  }
  Layer<T>& layer(Context<T>& context) const { return context.layers[static_cast<std::size_t>(layer_)]; }

  const int layer_;
  const bool input_grad_;
  int saved_ = -1, mask_ = -1;
};

}  // namespace sparsebp
