#include "program/ops/block_buffers.h"

#include "program/convolution.h"

namespace sparsebp {

template <class T>
BlockBuffers<T>::BlockBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
    : Op<T>(op),
      expands_(op.layers.size() == 3),
      expand_(op.layers.front()),
      depthwise_(op.layers[op.layers.size() - 2]),
      project_(op.layers.back()),
      input_grad_(declare.input_grad) {
  const LayerSpec& dw = program.layers[static_cast<std::size_t>(depthwise_)];
  const LayerSpec& project = program.layers[static_cast<std::size_t>(project_)];
  const ConvShape& s = dw.shape;
  wide_ = s.in, in_rows_ = s.pixels(), out_rows_ = s.out_pixels();
  in_ = program.values[static_cast<std::size_t>(op.inputs[0])].channels, out_ = project.shape.out;
  backward_block_ = std::min(op.block, wide_);
  forward_block_ = op.forward_block > 0 ? std::min(op.forward_block, wide_) : wide_;
  strips_ = Strips(s, forward_block_, op.forward_rows, sizeof(T), declare.strip_factor);
  const Index b = declare.batch;
  const bool streams = declare.stream.made > 0;
  const Index held = streams ? declare.stream.held * s.width : strips_.held_pixels(b);
  const Index made = streams ? declare.stream.made * s.out_width : strips_.out_pixels(b);
  fold_ = declare.forward_scratch("fold", 2 * (2 * forward_block_ + out_));
  if (expands_) expanded_ = declare.forward_scratch("expanded", held * forward_block_);
  filtered_ = declare.forward_scratch("filtered", made * forward_block_);
  if (!declare.in_span) return;

  if (expands_) {
    const LayerSpec& expand = program.layers[static_cast<std::size_t>(expand_)];
    if (expand.selected > 0) saved_expand_ = declare.saved(expand_, b * in_rows_ * expand.selected, "expand.");
    wide_grad_ = declare.input_grad || expand.trains();
    if (wide_grad_ && expand.activation != Activation::identity) {
      expand_mask_ = declare.mask(expand_, b * in_rows_ * mask_row_bytes(wide_), "expand.");
    }
  } else {
    wide_grad_ = declare.input_grad;
  }
  if (dw.selected > 0) saved_depthwise_ = declare.saved(depthwise_, b * in_rows_ * dw.selected, "depthwise.");
  if (project.selected > 0) saved_project_ = declare.saved(project_, b * out_rows_ * project.selected, "project.");
  filtered_grad_ = wide_grad_ || dw.trains();
  if (filtered_grad_ && dw.activation != Activation::identity) {
    depthwise_mask_ = declare.mask(depthwise_, b * out_rows_ * mask_row_bytes(wide_), "depthwise.");
  }
  scale_ = declare.backward_scratch("scale", out_ + (expands_ ? backward_block_ : 0));
  if (filtered_grad_) {
    d_filtered_ = declare.backward_scratch("d_filtered", b * out_rows_ * backward_block_);
    packs_gradient_ = packs_gradient(project.shape, b, div_up(backward_block_, kPanel) * kPanel);
    panel_count_ = packs_gradient_ ? packed_gradient(b * out_rows_, out_)
                                   : div_up(backward_block_, kPanel) * panel_rows() * kPanel;
  }
  if (wide_grad_ && expands_) {
    d_expanded_ = declare.backward_scratch("d_expanded", b * in_rows_ * backward_block_);
    const ConvShape& expand = program.layers[static_cast<std::size_t>(expand_)].shape;
    if (input_grad_) panel_count_ = std::max(panel_count_, conv_backward_scratch(expand, b, backward_block_));
  }
  if (panel_count_ > 0) panels_ = declare.backward_scratch("panels", panel_count_);
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
typename BlockBuffers<T>::Scratch BlockBuffers<T>::acquire_scratch(Context<T>& context) const {
  const Index n = context.images;
  PlannedArena& arena = context.training;
  Scratch scratch;
  scratch.project_scale = arena.template acquire<T>(scale_, out_ + (expands_ ? backward_block_ : 0));
  scratch.expand_scale = scratch.project_scale + out_;
  if (d_filtered_ >= 0) scratch.d_filtered = arena.template acquire<T>(d_filtered_, n * out_rows_ * backward_block_);
  if (d_expanded_ >= 0) scratch.d_expanded = arena.template acquire<T>(d_expanded_, n * in_rows_ * backward_block_);
  if (panels_ >= 0) scratch.panels = arena.template acquire<T>(panels_, panel_count_);
  return scratch;
}

#define SPARSEBP_INSTANTIATE(T)                                                                 \
  template BlockBuffers<T>::BlockBuffers(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template typename BlockBuffers<T>::Saved BlockBuffers<T>::acquire_saved(Context<T>&) const;   \
  template typename BlockBuffers<T>::Scratch BlockBuffers<T>::acquire_scratch(Context<T>&) const;
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
