// An inverted residual (expand 1x1, depthwise, project 1x1), streamed: the expanded tensors, six times as
// wide as the block's input, never exist whole. Forward runs strip by strip, and each strip by channel blocks if the
// plan says so; backward channel block by channel block.
//
// Backward needs no expanded value but the selected ones: the gradient through both activations is a bit per element.
// Units of a panel of channels or two are independent of each other up to the sum into dx, which runs in its own
// region; so are images, up to what they train.
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
  using Base::acquire_remains, Base::acquire_saved, Base::acquire_scratch, Base::saved_remains;
  using Base::acquire_strips, Base::shares_;
  using Base::expands_, Base::expand_, Base::depthwise_, Base::project_, Base::input_grad_;
  using Base::fold_, Base::expanded_, Base::filtered_, Base::refold_;
  using Base::forward_block_, Base::backward_block_, Base::restored_;
  using Base::keep_input, Base::restore, Base::filtered_count;
  using Base::layer, Base::panel_rows, Base::recomputes, Base::in_levels;
  using Base::packs_gradient_, Base::wide_grad_, Base::filtered_grad_;
  using Base::wide_, Base::in_, Base::out_, Base::in_rows_, Base::out_rows_, Base::width_, Base::strips_;
  using typename Base::Remains;
  using typename Base::Scratch;
  using typename Base::StripBuffers;
  using typename Op<T>::Target;

  // One strip on its way forward, or whole images while the backward pass goes that way again; columns are channels of
  // the expanded tensors.
  struct Pass {
    Strip strip;
    Rows<const T> x;  // of the first image; others follow a whole image further
    Rows<T> y;
    Index block;                      // the first channel of the block that is in work
    Index columns;                    // channels of a block at most
    T *expand_fold, *depthwise_fold;  // of the block's channels
    const T* project_fold;
    bool folded;  // are those of the block as the strip before left them
    bool ready;   // is the block expanded already
    T *expanded, *filtered;
    Remains saved;

    // Of the backward pass, where slices and masks are of one block alone.
    void begin_block(Index first) {
      block = saved.first = first;
      for (Slice<T>* slice : {&saved.depthwise, &saved.project}) {
        if (slice->first >= 0) slice->first = first;
      }
    }
    // What one thread makes again of the block.
    Pass part(const Block& op, const ColumnParts& parts, Index i, Index images) const {
      Pass own = *this;
      own.columns = parts.columns;
      if (parts.count == 0) return own;
      const Index begin = parts.begin(i);
      own.block += begin, own.columns = parts.width(i);
      own.expand_fold += 2 * begin, own.depthwise_fold += 2 * begin;
      if (own.expanded != nullptr) own.expanded += images * op.in_rows_ * begin;
      own.filtered += images * op.out_rows_ * begin;
      return own;
    }
  };

  // How threads share a forward pass: each has an equal part of the buffers. One lane unless several pay.
  struct Lanes {
    Index count = 1;
    Index size = 0;    // numbers
    Index images = 0;  // that a strip has whole; if zero,
    Index rows = 0;    // output rows of a strip at most
  };
  // Images are shared if nobody has to wait for a quarter of the time or more.
  static bool images_suit(Index images, Index threads) { return images % threads == 0 || images >= 4 * threads; }
  Lanes lanes(const Context<T>& context) const;
  void forward_in_lanes(const Context<T>& context, Pass& pass, const Lanes& lanes) const;
  void forward_image_rows(const Context<T>& context, Pass& pass, Index image, Range out, Index most) const;

  Pass begin_forward(Context<T>& context, Index held_pixels, Index out_pixels) const;
  void forward_strip(const Context<T>& context, Pass& pass) const;
  void forward_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void fold_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void expand_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void expand_pixels(const Context<T>& context, const Pass& pass, Index first, Index pixels, Index c,
                     Index count) const;
  void move_old_rows(const Context<T>& context, const Pass& pass, Index column, Index count) const;
  void filter_columns(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void filter_panel(const Context<T>& context, const Pass& pass, Index c, Index count) const;
  void project_columns(const Context<T>& context, const Pass& pass, Index count) const;

  Pass begin_recomputing(Context<T>& context, const Scratch& scratch) const;
  void expand_levels(Context<T>& context, const Scratch& scratch, const Pass& pass, const ColumnParts& parts) const;
  void train_from_levels(Context<T>& context, const Scratch& scratch, const OutputGrad<T>& grad);

  // Gradients of a panel of channels on their way down; row: numbers of a pixel.
  struct WidePlace {
    T* data = nullptr;  // null: not wanted
    Index row = 0;
    bool accumulate = false;
  };
  struct PanelGrad {
    Index c, count;
    T* filtered;
    Index filtered_row;
    WidePlace wide;
    T scale[kPanel];  // of the depthwise convolution's norm, if there is one
  };
  // Of their gradients, of one image or of several: added in the order of the images.
  struct PanelSums {
    T filtered[kPanel] = {}, expanded[kPanel] = {};

    void add(const T* more_filtered, const T* more_expanded, Index count) {
      for (Index i = 0; i < count; ++i) filtered[i] += more_filtered[i], expanded[i] += more_expanded[i];
    }
  };

  Scratch part_of(const Scratch& scratch, const ColumnParts& parts, Index part, Index images) const;
  void train_project_shift(Context<T>& context, const T* dy, const T* scale);
  void backward_columns(Context<T>& context, const Scratch& scratch, const Remains& saved, const T* dy,
                        const Target& target, Index c, Index column, Index count);
  void filtered_gradient(const Context<T>& context, const Scratch& scratch, const T* dy, Index column, Index c,
                         Index count) const;
  bool shares_rows(const ColumnParts& parts) const;
  void filtered_gradient_by_rows(const Context<T>& context, const Scratch& scratch, const T* dy, Index first,
                                 Index width) const;
  void pack_project(const Context<T>& context, const Scratch& scratch, Index o, Index column, Index c,
                    Index count) const;
  void project_gradient(const Context<T>& context, const Scratch& scratch, Index o, Index column, Index count,
                        const T* dy, Index rows, T* d_filtered, Index d_filtered_row) const;

  WidePlace wide_place(const Scratch& scratch, const Target& target, Index c, Index column) const;
  PanelGrad panel_grad(const Context<T>& context, Index c, Index count, T* filtered, Index filtered_row,
                       const WidePlace& wide) const;
  void pass_panel(const Context<T>& context, const Remains& saved, const PanelGrad& grad, Range images,
                  PanelSums& sums) const;
  void train_panel(Context<T>& context, const Scratch& scratch, const Remains& saved, const PanelGrad& grad,
                   Index column, const PanelSums& sums);

  bool shares_images(const Context<T>& context) const;
  void backward_images(Context<T>& context, const Scratch& scratch, const Remains& saved, const T* dy,
                       const Target& target, Index first);
  struct PairPlace {
    T* data;
    Index row;  // numbers of a pixel
  };
  PairPlace pair_place(const Context<T>& context, const Scratch& scratch, Index column) const;
  PanelGrad panel_of_images(const Context<T>& context, const Scratch& scratch, const Target& target, Index first,
                            Index column) const;
  T* image_sums(const PanelGrad& grad, Index image) const;
  void train_by_images(Context<T>& context, const Scratch& scratch, const Remains& saved, const T* dy,
                       const Target& target, Index first);
};

}  // namespace sparsebp
