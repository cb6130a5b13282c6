// What a single convolution acquires while it runs, wherever that is.
#pragma once

#include "program/dense.h"
#include "program/op.h"

namespace sparsebp {

template <class T>
class ConvBuffers : public Op<T> {
 public:
  ConvBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Op<T>(op), layer_(op.layers.at(0)), input_grad_(declare.input_grad) {
    const LayerSpec& layer = program.layers[static_cast<std::size_t>(layer_)];
    const ConvShape& s = layer.shape;
    const Index out = declare.batch * s.out_pixels();
    fold_ = declare.forward_scratch("fold", 2 * s.out);
    if (!declare.in_span) return;
    if (layer.selected > 0) saved_ = declare.saved("saved", declare.batch * s.pixels() * layer.selected);
    if (layer.activation != Activation::identity) {
      mask_ = declare.masks("mask", out * mask_row_bytes(s.out));
      // The program's output gradient belongs to the caller and must not be masked in place.
      if (op.output == program.output) dz_ = declare.backward_scratch("dz", out * s.out);
    }
    if (layer.has_norm) scale_ = declare.backward_scratch("scale", s.out);
    if (op.kind == OpKind::depthwise || !declare.input_grad) return;
    panel_count_ = conv_backward_scratch(s, declare.batch, s.out);
    panels_ = declare.backward_scratch("panels", panel_count_);
  }

 protected:
  // While a forward pass saves: null where backward needs none.
  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (mask_ < 0) return nullptr;
    const ConvShape& s = layer(context).spec.shape;
    return context.training.template acquire<std::uint8_t>(mask_,
                                                           context.images * s.out_pixels() * mask_row_bytes(s.out));
  }
  T* acquire_saved(Context<T>& context) const {
    if (saved_ < 0) return nullptr;
    const LayerSpec& trained = layer(context).spec;
    return context.training.template acquire<T>(saved_, context.images * trained.shape.pixels() * trained.selected);
  }
  // While it goes backward.
  T* acquire_dz(Context<T>& context) const {
    if (dz_ < 0) return nullptr;
    const ConvShape& s = layer(context).spec.shape;
    return context.training.template acquire<T>(dz_, context.images * s.out_pixels() * s.out);
  }
  T* acquire_scale(Context<T>& context) const {
    return scale_ < 0 ? nullptr : context.training.template acquire<T>(scale_, layer(context).spec.shape.out);
  }
  T* acquire_panels(Context<T>& context) const {
    return panels_ < 0 ? nullptr : context.training.template acquire<T>(panels_, panel_count_);
  }

  const T* saved(Context<T>& context) const { return saved_ >= 0 ? context.training.template at<T>(saved_) : nullptr; }
  const std::uint8_t* mask(Context<T>& context) const {
    return mask_ >= 0 ? context.training.template at<std::uint8_t>(mask_) : nullptr;
  }
  Layer<T>& layer(Context<T>& context) const { return context.layers[static_cast<std::size_t>(layer_)]; }

  const int layer_;
  const bool input_grad_;
  int fold_ = -1, saved_ = -1, mask_ = -1, dz_ = -1, scale_ = -1, panels_ = -1;
  Index panel_count_ = 0;
};

}  // namespace sparsebp
