// What a gated block acquires while it runs, wherever that is.
#pragma once

#include "program/layer.h"
#include "program/op.h"

namespace sparsebp {

template <class T>
class GatedBuffers : public Op<T> {
 public:
  GatedBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare);

 protected:
  // Whole tensors of a forward pass.
  struct Wide {
    T *fold, *expanded, *filtered, *gate;
  };
  // What a forward pass keeps: the input, and if there is a gate [images] of the means of the filtered channels, what
  // the reduced ones are before their activation, and the gate before its own.
  struct Kept {
    T *input = nullptr, *means = nullptr, *reduced = nullptr, *gate = nullptr;
  };
  // A channel block on its way back: what it was before its activations and after them, and the gradients.
  struct Scratch {
    T *fold, *expanded, *expanded_before, *d_expanded, *filtered, *filtered_before, *d_filtered, *panels;
    // Of all channels: the gate, its gradient, that of the means; of the reduced ones what they were, and their
    // gradient.
    T *gate = nullptr, *d_gate = nullptr, *d_means = nullptr, *reduced = nullptr, *d_reduced = nullptr;
  };

  bool gated() const { return parts_.reduce >= 0; }
  bool expands() const { return parts_.expand >= 0; }
  Layer<T>& layer(Context<T>& context, int index) const { return context.layers[static_cast<std::size_t>(index)]; }
  Index panel_rows() const { return std::min(out_, kPanelRows); }

  Wide acquire_wide(Context<T>& context) const;
  Kept acquire_kept(Context<T>& context) const;
  Kept kept(Context<T>& context) const;
  Scratch acquire_scratch(Context<T>& context) const;

  const GatedLayers parts_;
  const bool input_grad_, trains_;
  bool wide_grad_ = false;  // is the gradient of the expanded tensor needed
  Index in_, wide_, reduced_ = 0, out_, in_rows_, out_rows_, block_, panel_count_ = 0;

 private:
  // The scales of the projection, and of a block of the expansion.
  Index fold_count() const { return out_ + (expands() && wide_grad_ ? block_ : 0); }
  Index gate_count() const { return 3 * wide_ + 2 * reduced_; }

  int fold_ = -1, expanded_ = -1, filtered_ = -1, gate_ = -1;
  int kept_input_ = -1, kept_gate_ = -1;
  int scratch_fold_ = -1, scratch_expanded_ = -1, scratch_filtered_ = -1, scratch_gate_ = -1, panels_ = -1;
};

}  // namespace sparsebp
