// An inverted residual (expand 1x1, depthwise, project 1x1), streamed: the expanded tensors, six times as
// wide as the block's input, never exist whole. Forward runs strip by strip, backward channel block by channel block.
//
// Backward needs no expanded value but the selected ones: the gradient through both activations is a bit per element.
// Units of kPanel channels are independent of each other up to the sum into dx, which runs in its own region.
#pragma once

#include "program/op.h"
#include "program/ops/strips.h"

namespace sparsebp {

template <class T>
class Block final : public Op<T> {
 public:
  Block(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare);

  void forward(Context<T>& context) override;
  void backward(Context<T>& context) override;

 private:
  struct Saved {
    T *expand = nullptr, *depthwise = nullptr, *project = nullptr;
    std::uint8_t *expand_mask = nullptr, *depthwise_mask = nullptr;
  };
  struct Scratch {
    T *project_scale, *expand_scale, *d_filtered = nullptr, *d_expanded = nullptr, *panels = nullptr;
  };

  // One strip on its way forward; columns are channels of the expanded tensors.
  struct Pass {
    Strip strip;
    const T* x;
    T *expand_fold, *depthwise_fold;  // of all channels; each unit fills its own part with the first strip
    const T* project_fold;
    bool first;
    T *expanded, *filtered;
    Saved saved;
  };

  using Target = typename Op<T>::Target;

  Layer<T>& layer(Context<T>& context, int index) const { return context.layers[static_cast<std::size_t>(index)]; }
  const Layer<T>& layer(const Context<T>& context, int index) const {
    return context.layers[static_cast<std::size_t>(index)];
  }
  Index panel_rows() const { return std::min(out_, kPanelRows); }

  Saved acquire_saved(Context<T>& context) const;
  Scratch acquire_scratch(Context<T>& context) const;

  void forward_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void expand_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void filter_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void project_strip(const Context<T>& context, const Pass& pass, T* y) const;

  void train_project_shift(Context<T>& context, const T* dy, const T* scale);
  void backward_columns(Context<T>& context, const Scratch& scratch, const T* dy, const Target& target, Index unit,
                        Index c, Index count);
  void filtered_gradient(Context<T>& context, const Scratch& scratch, const T* dy, Index unit, Index c, Index count);
  void pass_mask(Context<T>& context, int mask, Index rows, T* g, Index c, Index count, T* sums) const;

  const bool expands_;
  const int expand_, depthwise_, project_;  // layers; expand_ is meaningless without an expansion
  const bool input_grad_;
  bool packs_gradient_ = false;                     // towards the filtered tensor: the gradient, not the weights
  bool wide_grad_ = false, filtered_grad_ = false;  // is the gradient of the expanded / filtered tensor needed
  Index wide_, in_, out_, in_rows_, out_rows_, backward_block_;
  Index panel_count_ = 0;
  Strips strips_;
  int fold_ = -1, expanded_ = -1, filtered_ = -1;
  int saved_expand_ = -1, saved_depthwise_ = -1, saved_project_ = -1, expand_mask_ = -1, depthwise_mask_ = -1;
  int scale_ = -1, d_filtered_ = -1, d_expanded_ = -1, panels_ = -1;
};

}  // namespace sparsebp
