// What an inverted residual acquires while it runs, wherever that is.
#pragma once

#include "program/layer.h"
#include "program/op.h"
#include "program/ops/strips.h"

namespace sparsebp {

template <class T>
class BlockBuffers : public Op<T> {
 public:
  BlockBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare);

 protected:
  // What a forward pass leaves for the backward pass.
  struct Saved {
    T *expand = nullptr, *depthwise = nullptr, *project = nullptr;
    std::uint8_t *expand_mask = nullptr, *depthwise_mask = nullptr;
  };
  // The same for the ops of a processor, which may have made it again for one channel block.
  struct Remains {
    Slice<T> input, depthwise, project;  // of the op's input, and of those of these layers
    std::uint8_t *expand_mask = nullptr, *depthwise_mask = nullptr;
    Index first = 0;  // the channel with which the masks begin
  };
  struct Scratch {
    T *project_scale, *expand_scale, *d_filtered = nullptr, *d_expanded = nullptr, *panels = nullptr;
    Index columns = 0;  // numbers of a pixel in d_filtered and d_expanded
  };

  Layer<T>& layer(Context<T>& context, int index) const { return context.layers[static_cast<std::size_t>(index)]; }
  const Layer<T>& layer(const Context<T>& context, int index) const {
    return context.layers[static_cast<std::size_t>(index)];
  }
  Index panel_rows() const { return std::min(out_, kPanelRows); }

  bool recomputes() const { return trains_ && this->spec.keep != Keep::masks; }
  bool in_levels() const { return trains_ && this->spec.keep == Keep::input8; }
  // Numbers of d_filtered. Where the input is in 8 bits these restore it too, a row or some channels of it at a time.
  Index filtered_count(Index images) const;

  // Room for the strips of a forward pass, of all channels of a block of them.
  struct StripBuffers {
    T *expanded, *filtered;
  };
  StripBuffers acquire_strips(Context<T>& context, Index held_pixels, Index out_pixels) const;

  void keep_input(Context<T>& context, const T* x) const;
  // Numbers of channels [begin, begin + count) of the kept input again, [pixels][out_pixel].
  void restore(const Context<T>& context, Index image, Range pixels, Index begin, Index count, T* out,
               Index out_pixel) const;
  Saved acquire_saved(Context<T>& context) const;
  Remains saved_remains(Context<T>& context) const;    // of acquire_saved
  Remains acquire_remains(Context<T>& context) const;  // to be made again, channel block by channel block
  Scratch acquire_scratch(Context<T>& context) const;

  const bool expands_;
  const int expand_, depthwise_, project_;  // layers; expand_ is meaningless without an expansion
  const bool input_grad_;
  const bool trains_;                               // or passes a gradient on
  bool packs_gradient_ = false;                     // towards the filtered tensor: the gradient, not the weights
  bool wide_grad_ = false, filtered_grad_ = false;  // is the gradient of the expanded / filtered tensor needed
  Index wide_, in_, out_, in_rows_, out_rows_, width_, forward_block_, backward_block_;

 private:
  void declare_remains(const ProgramSpec& program, const Declare<T>& declare);
  // Numbers of a pixel in a slice that is made again: of the block's channels, or if these are fewer of all selected
  // ones.
  Index sliced(Index selected) const { return std::min(selected, backward_block_); }

 protected:
  Index panel_count_ = 0;
  Index restored_ = 0;  // channels of an input in 8 bits that are restored at once to train the expansion
  Strips strips_;
  bool shares_ = false;  // are strips where those of other ops are
  int fold_ = -1, expanded_ = -1, filtered_ = -1;
  int saved_expand_ = -1, saved_depthwise_ = -1, saved_project_ = -1, expand_mask_ = -1, depthwise_mask_ = -1;
  int kept_ = -1, range_ = -1, refold_ = -1;  // where slices and masks are made again: these then are scratch
  int scale_ = -1, d_filtered_ = -1, d_expanded_ = -1, panels_ = -1;
};

}  // namespace sparsebp
