// An inverted residual (expand 1x1, depthwise, project 1x1), streamed: the expanded tensors, six times as
// wide as the block's input, never exist whole. Forward runs strip by strip, and each strip by channel blocks if the
// plan says so; backward channel block by channel block.
//
// Backward needs no expanded value but the selected ones: the gradient through both activations is a bit per element.
// Units of kPanel channels are independent of each other up to the sum into dx, which runs in its own region.
#pragma once

#include "program/ops/block_buffers.h"

namespace sparsebp {

template <class T>
class Block final : public BlockBuffers<T> {
 public:
  using BlockBuffers<T>::BlockBuffers;

  void forward(Context<T>& context) override;
  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override;
  void backward(Context<T>& context) override;

 private:
  using Base = BlockBuffers<T>;
  using Base::acquire_saved, Base::acquire_scratch, Base::layer, Base::panel_rows;
  using Base::expands_, Base::expand_, Base::depthwise_, Base::project_, Base::input_grad_;
  using Base::fold_, Base::expanded_, Base::filtered_;
  using Base::forward_block_, Base::backward_block_;
  using Base::packs_gradient_, Base::wide_grad_, Base::filtered_grad_;
  using Base::saved_expand_, Base::saved_depthwise_, Base::saved_project_, Base::expand_mask_, Base::depthwise_mask_;
  using Base::wide_, Base::in_, Base::out_, Base::in_rows_, Base::out_rows_, Base::strips_;
  using typename Base::Saved;
  using typename Base::Scratch;
  using typename Op<T>::Target;

  // One strip on its way forward; columns are channels of the expanded tensors.
  struct Pass {
    Strip strip;
    Rows<const T> x;  // of the first image; others follow a whole image further
    Rows<T> y;
    Index block;                      // the first channel of the block that is in work
    T *expand_fold, *depthwise_fold;  // of the block's channels
    const T* project_fold;
    bool folded;  // are those of the block as the strip before left them
    T *expanded, *filtered;
    Saved saved;
  };

  Pass begin_forward(Context<T>& context, Index held_pixels, Index out_pixels) const;
  void forward_strip(const Context<T>& context, Pass& pass) const;
  void forward_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void expand_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void filter_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void project_columns(const Context<T>& context, const Pass& pass, Index count) const;

  void train_project_shift(Context<T>& context, const T* dy, const T* scale);
  void backward_columns(Context<T>& context, const Scratch& scratch, const T* dy, const Target& target, Index unit,
                        Index c, Index count);
  void filtered_gradient(Context<T>& context, const Scratch& scratch, const T* dy, Index unit, Index c, Index count);
  void pass_mask(Context<T>& context, int mask, Index rows, T* g, Index c, Index count, T* sums) const;
};

}  // namespace sparsebp
