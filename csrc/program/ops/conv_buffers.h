// What a single convolution, or a norm on its own, acquires while it runs, wherever that is.
#pragma once

#include "program/convolution.h"
#include "program/ops/layer_buffers.h"

namespace sparsebp {

template <class T>
class ConvBuffers : public LayerBuffers<T> {
 public:
  ConvBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) : LayerBuffers<T>(op, declare) {
    const LayerSpec& layer = program.layers[static_cast<std::size_t>(this->layer_)];
    const ConvShape& s = layer.shape;
    fold_ = declare.forward_scratch("fold", 2 * s.out);
    if (!declare.in_span) return;
    this->declare_saved(layer, declare);
    // The program's output gradient belongs to the caller and must not be masked in place.
    const bool masks = layer.activation != Activation::identity;
    if (masks && op.output == program.output)
      dz_ = declare.backward_scratch("dz", declare.batch * s.out_pixels() * s.out);
    if (layer.has_scale()) scale_ = declare.backward_scratch("scale", s.out);
    if (op.kind == OpKind::depthwise || !layer.has_weight() || !declare.input_grad) return;
    panel_count_ = conv_backward_scratch(s, declare.batch, s.out);
    panels_ = declare.backward_scratch("panels", panel_count_);
  }

 protected:
  // While it goes backward.
  T* acquire_dz(Context<T>& context) const {
    if (dz_ < 0) return nullptr;
    const ConvShape& s = this->layer(context).spec.shape;
    return context.training.template acquire<T>(dz_, context.images * s.out_pixels() * s.out);
  }
  T* acquire_scale(Context<T>& context) const {
    return scale_ < 0 ? nullptr : context.training.template acquire<T>(scale_, this->layer(context).spec.shape.out);
  }
  T* acquire_panels(Context<T>& context) const {
    return panels_ < 0 ? nullptr : context.training.template acquire<T>(panels_, panel_count_);
  }

  int fold_ = -1, dz_ = -1, scale_ = -1, panels_ = -1;
  Index panel_count_ = 0;
};

}  // namespace sparsebp
