#include "program/ops/block_buffers.h"

#include "program/convolution.h"
#include "program/ops/levels.h"

namespace sparsebp {

template <class T>
BlockBuffers<T>::BlockBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
    : Op<T>(op),
      expands_(op.layers.size() == 3),
      expand_(op.layers.front()),
      depthwise_(op.layers[op.layers.size() - 2]),
      project_(op.layers.back()),
      input_grad_(declare.input_grad),
      trains_(declare.in_span) {
  const LayerSpec& dw = program.layers[static_cast<std::size_t>(depthwise_)];
  const LayerSpec& project = program.layers[static_cast<std::size_t>(project_)];
  const ConvShape& s = dw.shape;
  wide_ = s.in, in_rows_ = s.pixels(), width_ = s.width, out_rows_ = s.out_pixels();
  in_ = program.values[static_cast<std::size_t>(op.inputs[0])].channels, out_ = project.shape.out;
  backward_block_ = std::min(op.block, wide_);
  forward_block_ = op.forward_block > 0 ? std::min(op.forward_block, wide_) : wide_;
  strips_ = Strips(s, forward_block_, op.forward_rows, sizeof(T), declare.strip_factor);
  const Index b = declare.batch;
  const bool streams = declare.stream.made > 0;
  const Index held = streams ? declare.stream.reached * s.width : strips_.held_pixels(b);
  const Index made = streams ? declare.stream.made * s.out_width : strips_.out_pixels(b);
  fold_ = declare.forward_scratch("fold", 2 * (2 * forward_block_ + out_));
  shares_ = declare.strips != nullptr && !streams;
  if (shares_) {
    declare.strips->want(((expands_ ? held : 0) + made) * forward_block_, declare.forward_time);
  } else {
    if (expands_) expanded_ = declare.forward_scratch("expanded", held * forward_block_);
    filtered_ = declare.forward_scratch("filtered", made * forward_block_);
  }
  if (!trains_) return;

  wide_grad_ = declare.input_grad;
  if (expands_) {
    const LayerSpec& expand = program.layers[static_cast<std::size_t>(expand_)];
    wide_grad_ |= expand.trains();
    if (expand.selected > 0) restored_ = std::min(in_, kPanel);
  }
  filtered_grad_ = wide_grad_ || dw.trains();
  declare_remains(program, declare);
  scale_ = declare.backward_scratch("scale", out_ + (expands_ ? backward_block_ : 0));
  if (filtered_grad_ || recomputes()) {
    d_filtered_ = declare.backward_scratch("d_filtered", filtered_count(b));
  }
  if (expands_ && (wide_grad_ || recomputes())) {
    d_expanded_ = declare.backward_scratch("d_expanded", b * in_rows_ * backward_block_);
  }
  if (filtered_grad_) {
    packs_gradient_ = packs_gradient(project.shape, b, div_up(backward_block_, kPanel) * kPanel);
    panel_count_ = packs_gradient_ ? packed_gradient(b * out_rows_, out_)
                                   : div_up(backward_block_, kPanel) * panel_rows() * kPanel;
  }
  if (input_grad_ && expands_) {
    const ConvShape& expand = program.layers[static_cast<std::size_t>(expand_)].shape;
    panel_count_ = std::max(panel_count_, conv_backward_scratch(expand, b, backward_block_));
  }
  if (panel_count_ > 0) panels_ = declare.backward_scratch("panels", panel_count_);
}

template <class T>
void BlockBuffers<T>::declare_remains(const ProgramSpec& program, const Declare<T>& declare) {
  const Index b = declare.batch, wide = mask_row_bytes(recomputes() ? backward_block_ : wide_);
  const LayerSpec& dw = program.layers[static_cast<std::size_t>(depthwise_)];
  const LayerSpec& project = program.layers[static_cast<std::size_t>(project_)];
  const auto slice = [&](int layer, Index selected, Index pixels, const char* part) {
    if (selected == 0) return -1;
    if (recomputes()) return declare.slice_again(layer, b * pixels * sliced(selected), part);
    return declare.saved(layer, b * pixels * selected, part);
  };
  const auto mask = [&](int layer, Index pixels, const char* part) {
    return recomputes() ? declare.mask_again(layer, b * pixels * wide, part)
                        : declare.mask(layer, b * pixels * wide, part);
  };
  if (in_levels()) {
    kept_ = declare.template kept<std::uint8_t>("levels", b * in_rows_ * in_);
    range_ = declare.template kept<T>("range", b * 2 * in_);
  } else if (recomputes()) {
    kept_ = declare.template kept<T>("input", b * in_rows_ * in_);
  }
  if (expands_) {
    const LayerSpec& expand = program.layers[static_cast<std::size_t>(expand_)];
    if (!recomputes()) saved_expand_ = slice(expand_, expand.selected, in_rows_, "expand.");
    if (wide_grad_ && expand.activation != Activation::identity) expand_mask_ = mask(expand_, in_rows_, "expand.");
  }
  // Without an expansion the kept input is what the filter reads.
  if (expands_ || !recomputes()) saved_depthwise_ = slice(depthwise_, dw.selected, in_rows_, "depthwise.");
  saved_project_ = slice(project_, project.selected, out_rows_, "project.");
  if (filtered_grad_ && dw.activation != Activation::identity) {
    depthwise_mask_ = mask(depthwise_, out_rows_, "depthwise.");
  }
  if (recomputes()) refold_ = declare.backward_scratch("fold", 4 * backward_block_);
}

template <class T>
typename BlockBuffers<T>::StripBuffers BlockBuffers<T>::acquire_strips(Context<T>& context, Index held,
                                                                       Index made) const {
  PlannedArena& arena = *context.workspace;
  StripBuffers out;
  if (shares_) {
    const SharedScratch& strips = context.strips;
    out.expanded = arena.holds(strips.buffer) ? arena.template at<T>(strips.buffer)
                                              : arena.template acquire<T>(strips.buffer, strips.count);
    out.filtered = out.expanded + (expands_ ? held * forward_block_ : 0);
  } else {
    out.filtered = arena.template acquire<T>(filtered_, made * forward_block_);
    out.expanded = expands_ ? arena.template acquire<T>(expanded_, held * forward_block_) : nullptr;
  }
  return out;
}

template <class T>
void BlockBuffers<T>::keep_input(Context<T>& context, const T* x) const {
  const Index n = context.images, image = in_rows_ * in_;
  PlannedArena& arena = context.training;
  if (!in_levels()) {
    std::copy_n(x, n * image, arena.template acquire<T>(kept_, n * image));
    return;
  }
  auto* levels = arena.template acquire<std::uint8_t>(kept_, n * image);
  T* range = arena.template acquire<T>(range_, n * 2 * in_);
  for (Index i = 0; i < n; ++i) {
    T* least = range + i * 2 * in_;
    to_levels(x + i * image, in_rows_, in_, levels + i * image, least, least + in_);
  }
}

template <class T>
void BlockBuffers<T>::restore(const Context<T>& context, Index image, Range pixels, Index begin, Index count, T* out,
                              Index out_pixel) const {
  const T* least = context.training.template at<T>(range_) + image * 2 * in_ + begin;
  const auto* levels = context.training.template at<std::uint8_t>(kept_) + (image * in_rows_ + pixels.begin) * in_;
  from_levels(levels + begin, in_, least, least + in_, pixels.end - pixels.begin, count, out, out_pixel);
}

template <class T>
Index BlockBuffers<T>::filtered_count(Index images) const {
  const Index own = images * out_rows_ * backward_block_;
  if (!in_levels()) return own;
  return std::max({own, width_ * in_, restored_ * images * in_rows_});
}

template <class T>
typename BlockBuffers<T>::Saved BlockBuffers<T>::acquire_saved(Context<T>& context) const {
  Saved saved;
  const Index n = context.images, mask = mask_row_bytes(wide_);
  PlannedArena& arena = context.training;
  const auto slice = [&](int buffer, Index rows, int index) {
    return buffer < 0 ? nullptr : arena.template acquire<T>(buffer, n * rows * layer(context, index).spec.selected);
  };
  saved.expand = slice(saved_expand_, in_rows_, expand_);
  saved.depthwise = slice(saved_depthwise_, in_rows_, depthwise_);
  saved.project = slice(saved_project_, out_rows_, project_);
  if (expand_mask_ >= 0) saved.expand_mask = arena.template acquire<std::uint8_t>(expand_mask_, n * in_rows_ * mask);
  if (depthwise_mask_ >= 0) {
    saved.depthwise_mask = arena.template acquire<std::uint8_t>(depthwise_mask_, n * out_rows_ * mask);
  }
  return saved;
}

template <class T>
typename BlockBuffers<T>::Remains BlockBuffers<T>::saved_remains(Context<T>& context) const {
  Remains remains;
  PlannedArena& arena = context.training;
  const auto slice = [&](int buffer, int index) {
    return buffer < 0 ? Slice<T>{} : layer(context, index).slice(arena.template at<T>(buffer));
  };
  remains.input = slice(saved_expand_, expand_);
  remains.depthwise = slice(saved_depthwise_, depthwise_);
  remains.project = slice(saved_project_, project_);
  if (expand_mask_ >= 0) remains.expand_mask = arena.template at<std::uint8_t>(expand_mask_);
  if (depthwise_mask_ >= 0) remains.depthwise_mask = arena.template at<std::uint8_t>(depthwise_mask_);
  return remains;
}

template <class T>
typename BlockBuffers<T>::Remains BlockBuffers<T>::acquire_remains(Context<T>& context) const {
  Remains remains;
  const Index n = context.images, mask = mask_row_bytes(backward_block_);
  PlannedArena& arena = context.training;
  const auto slice = [&](int buffer, Index rows, int index) {
    if (buffer < 0) return Slice<T>{};
    const Index selected = layer(context, index).spec.selected, columns = sliced(selected);
    return Slice<T>{arena.template acquire<T>(buffer, n * rows * columns), columns, columns < selected ? 0 : -1};
  };
  if (!in_levels()) remains.input = {arena.template at<T>(kept_), in_, 0};
  remains.depthwise = slice(saved_depthwise_, in_rows_, depthwise_);
  remains.project = slice(saved_project_, out_rows_, project_);
  if (expand_mask_ >= 0) remains.expand_mask = arena.template acquire<std::uint8_t>(expand_mask_, n * in_rows_ * mask);
  if (depthwise_mask_ >= 0) {
    remains.depthwise_mask = arena.template acquire<std::uint8_t>(depthwise_mask_, n * out_rows_ * mask);
  }
  return remains;
}

template <class T>
typename BlockBuffers<T>::Scratch BlockBuffers<T>::acquire_scratch(Context<T>& context) const {
  const Index n = context.images;
  PlannedArena& arena = context.training;
  Scratch scratch;
  scratch.project_scale = arena.template acquire<T>(scale_, out_ + (expands_ ? backward_block_ : 0));
  scratch.expand_scale = scratch.project_scale + out_;
  if (d_filtered_ >= 0) scratch.d_filtered = arena.template acquire<T>(d_filtered_, filtered_count(n));
  if (d_expanded_ >= 0) scratch.d_expanded = arena.template acquire<T>(d_expanded_, n * in_rows_ * backward_block_);
  if (panels_ >= 0) scratch.panels = arena.template acquire<T>(panels_, panel_count_);
  return scratch;
}

#define SPARSEBP_INSTANTIATE(T)                                                                                     \
  template BlockBuffers<T>::BlockBuffers(const OpSpec&, const ProgramSpec&, const Declare<T>&);                     \
  template typename BlockBuffers<T>::StripBuffers BlockBuffers<T>::acquire_strips(Context<T>&, Index, Index) const; \
  template void BlockBuffers<T>::keep_input(Context<T>&, const T*) const;                                           \
  template void BlockBuffers<T>::restore(const Context<T>&, Index, Range, Index, Index, T*, Index) const;           \
  template Index BlockBuffers<T>::filtered_count(Index) const;                                                      \
  template typename BlockBuffers<T>::Saved BlockBuffers<T>::acquire_saved(Context<T>&) const;                       \
  template typename BlockBuffers<T>::Remains BlockBuffers<T>::saved_remains(Context<T>&) const;                     \
  template typename BlockBuffers<T>::Remains BlockBuffers<T>::acquire_remains(Context<T>&) const;                   \
  template typename BlockBuffers<T>::Scratch BlockBuffers<T>::acquire_scratch(Context<T>&) const;
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
