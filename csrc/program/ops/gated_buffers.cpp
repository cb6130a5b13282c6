#include "program/ops/gated_buffers.h"

#include <algorithm>

#include "program/convolution.h"

namespace sparsebp {

template <class T>
GatedBuffers<T>::GatedBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
    : Op<T>(op), parts_(op), input_grad_(declare.input_grad), trains_(declare.in_span) {
  const auto layer = [&](int index) -> const LayerSpec& { return program.layers[static_cast<std::size_t>(index)]; };
  const ConvShape& s = layer(parts_.depthwise).shape;
  in_ = program.values[static_cast<std::size_t>(op.inputs[0])].channels;
  wide_ = s.in, out_ = layer(parts_.project).shape.out;
  if (gated()) reduced_ = layer(parts_.reduce).shape.out;
  in_rows_ = s.pixels(), out_rows_ = s.out_pixels();
  block_ = std::min(op.block, wide_);
  const Index b = declare.batch, widest = std::max({wide_, out_, reduced_});
  fold_ = declare.forward_scratch("fold", 2 * widest);
  if (expands()) expanded_ = declare.forward_scratch("expanded", b * in_rows_ * wide_);
  filtered_ = declare.forward_scratch("filtered", b * out_rows_ * wide_);
  if (gated()) gate_ = declare.forward_scratch("gate", b * (2 * wide_ + reduced_));
  if (!trains_) return;

  wide_grad_ = input_grad_ || (expands() && layer(parts_.expand).trains());
  kept_input_ = declare.template kept<T>("input", b * in_rows_ * in_);
  if (gated()) kept_gate_ = declare.template kept<T>("gate", b * (2 * wide_ + reduced_));
  scratch_fold_ = declare.backward_scratch("fold", fold_count());
  if (expands()) scratch_expanded_ = declare.backward_scratch("expanded", (wide_grad_ ? 3 : 2) * b * in_rows_ * block_);
  scratch_filtered_ = declare.backward_scratch("filtered", 3 * b * out_rows_ * block_);
  if (gated()) scratch_gate_ = declare.backward_scratch("gate", b * gate_count());
  panel_count_ = div_up(block_, kPanel) * panel_rows() * kPanel;
  if (expands() && input_grad_) {
    panel_count_ = std::max(panel_count_, conv_backward_scratch(layer(parts_.expand).shape, b, block_));
  }
  for (int part : {parts_.reduce, parts_.restore}) {
    if (part < 0) continue;
    panel_count_ = std::max(panel_count_, conv_backward_scratch(layer(part).shape, b, layer(part).shape.out));
  }
  panels_ = declare.backward_scratch("panels", panel_count_);
}

template <class T>
typename GatedBuffers<T>::Wide GatedBuffers<T>::acquire_wide(Context<T>& context) const {
  PlannedArena& arena = *context.workspace;
  const Index n = context.images;
  Wide wide{};
  wide.fold = arena.template acquire<T>(fold_, 2 * std::max({wide_, out_, reduced_}));
  if (expanded_ >= 0) wide.expanded = arena.template acquire<T>(expanded_, n * in_rows_ * wide_);
  wide.filtered = arena.template acquire<T>(filtered_, n * out_rows_ * wide_);
  if (gate_ >= 0) wide.gate = arena.template acquire<T>(gate_, n * (2 * wide_ + reduced_));
  return wide;
}

template <class T>
typename GatedBuffers<T>::Kept GatedBuffers<T>::acquire_kept(Context<T>& context) const {
  const Index n = context.images;
  context.training.template acquire<T>(kept_input_, n * in_rows_ * in_);
  if (kept_gate_ >= 0) context.training.template acquire<T>(kept_gate_, n * (2 * wide_ + reduced_));
  return kept(context);
}

template <class T>
typename GatedBuffers<T>::Kept GatedBuffers<T>::kept(Context<T>& context) const {
  const Index n = context.images;
  Kept kept;
  kept.input = context.training.template at<T>(kept_input_);
  if (kept_gate_ < 0) return kept;
  kept.means = context.training.template at<T>(kept_gate_);
  kept.gate = kept.means + n * wide_, kept.reduced = kept.gate + n * wide_;
  return kept;
}

template <class T>
typename GatedBuffers<T>::Scratch GatedBuffers<T>::acquire_scratch(Context<T>& context) const {
  PlannedArena& arena = context.training;
  const Index n = context.images;
  Scratch scratch{};
  scratch.fold = arena.template acquire<T>(scratch_fold_, fold_count());
  if (scratch_expanded_ >= 0) {
    const Index count = n * in_rows_ * block_;
    scratch.expanded = arena.template acquire<T>(scratch_expanded_, (wide_grad_ ? 3 : 2) * count);
    scratch.expanded_before = scratch.expanded + count;
    scratch.d_expanded = wide_grad_ ? scratch.expanded_before + count : nullptr;
  }
  const Index count = n * out_rows_ * block_;
  scratch.filtered = arena.template acquire<T>(scratch_filtered_, 3 * count);
  scratch.filtered_before = scratch.filtered + count, scratch.d_filtered = scratch.filtered_before + count;
  if (scratch_gate_ >= 0) {
    scratch.gate = arena.template acquire<T>(scratch_gate_, n * gate_count());
    scratch.d_gate = scratch.gate + n * wide_, scratch.d_means = scratch.d_gate + n * wide_;
    scratch.reduced = scratch.d_means + n * wide_, scratch.d_reduced = scratch.reduced + n * reduced_;
  }
  scratch.panels = arena.template acquire<T>(panels_, panel_count_);
  return scratch;
}

#define SPARSEBP_INSTANTIATE(T)                                                                 \
  template GatedBuffers<T>::GatedBuffers(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template typename GatedBuffers<T>::Wide GatedBuffers<T>::acquire_wide(Context<T>&) const;     \
  template typename GatedBuffers<T>::Kept GatedBuffers<T>::acquire_kept(Context<T>&) const;     \
  template typename GatedBuffers<T>::Kept GatedBuffers<T>::kept(Context<T>&) const;             \
  template typename GatedBuffers<T>::Scratch GatedBuffers<T>::acquire_scratch(Context<T>&) const;
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
