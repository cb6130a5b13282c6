// Backward, channel block by channel block. It needs no expanded value but the selected ones: the gradient through both
// activations is a bit per element. Units of a panel of channels or two are independent of each other up to the sum
// into dx, which runs in a region of its own. Each thread has the gradients of its channels in a part of the buffers;
// for batches see block_backward_images.cpp.
#include <algorithm>

#include "platform/parallel.h"
#include "program/convolution.h"
#include "program/ops/block.h"
#include "program/ops/runs.h"

namespace sparsebp {
namespace {

// A residual passes its gradient on as it is.
template <class T>
void pass_residual(const T* dy, Index count, T* grad, bool accumulate) {
  parallel_runs(count, [&](Index i) { put(grad[i], dy[i], accumulate); });
}

}  // namespace

template <class T>
void Block<T>::backward(Context<T>& context) {
  const Kernels<T>& kernels = *context.kernels;
  Layer<T>&expand = layer(context, expand_), &project = layer(context, project_);
  const Index n = context.images;
  const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];

  Scratch scratch = acquire_scratch(context);
  if (expands_) std::fill_n(scratch.expand_scale, backward_block_, T(0));
  project.fold(kernels, 0, out_, scratch.project_scale, nullptr);
  if (project.spec.trains_bias()) train_project_shift(context, dy, scratch.project_scale);

  Target target{nullptr, false};
  if (input_grad_) target = this->input_grad(context, 0);
  if (target.grad != nullptr && this->spec.residual) {
    pass_residual(dy, n * in_rows_ * in_, target.grad, target.accumulate);
    target.accumulate = true;
  }
  Pass again = recomputes() ? begin_recomputing(context, scratch) : Pass{};
  const Remains& saved = again.saved;
  if (!recomputes()) again.saved = saved_remains(context);
  const Index taps = layer(context, depthwise_).spec.shape.taps();
  const Index expand_work = recomputes() && expands_ ? n * kPanel * in_rows_ * in_ : 0;
  const Index backward_work = expand_work + n * kPanel * (out_rows_ * out_ + in_rows_ * taps);
  const bool by_images = shares_images(context);
  for (Index first = 0; first < wide_; first += backward_block_) {
    const Index width = std::min(backward_block_, wide_ - first);
    if (filtered_grad_ && packs_gradient_) {
      const T* scale = project.spec.has_norm ? scratch.project_scale : nullptr;
      pack_gradient(kernels, {dy, out_, 0, out_, scale}, n * out_rows_, scratch.panels);
    }
    const ColumnParts parts = by_images ? ColumnParts{width, kPair, 0} : column_parts(kernels, width);
    if (recomputes()) again.begin_block(first);
    if (in_levels()) expand_levels(context, scratch, again, parts);
    if (by_images) {
      scratch.columns = width;
      backward_images(context, scratch, saved, dy, target, first);
    } else {
      const bool by_rows = shares_rows(parts);
      if (by_rows) filtered_gradient_by_rows(context, scratch, dy, first, width);
      for_columns(parts, backward_work, [&](Index part, Index column, Index count) {
        const Index begin = parts.count > 0 ? parts.begin(part) : 0, c = first + column;
        const Scratch own = part_of(scratch, parts, part, n);
        if (recomputes()) forward_columns(context, again.part(*this, parts, part, n), c, count);
        if (filtered_grad_ && !by_rows) filtered_gradient(context, own, dy, column - begin, c, count);
        backward_columns(context, own, saved, dy, target, c, column - begin, count);
      });
    }
    if (expands_ && wide_grad_) {
      const T* scale = expand.spec.has_norm ? scratch.expand_scale : nullptr;
      const OutputGrad<T> grad{scratch.d_expanded, width, first, width, scale, parts};
      conv_backward(context, expand, grad, saved.input, target.grad, target.accumulate || first > 0, scratch.panels);
      if (in_levels()) train_from_levels(context, scratch, grad);
    }
  }
}

template <class T>
void Block<T>::train_project_shift(Context<T>& context, const T* dy, const T* scale) {
  const Kernels<T>& kernels = *context.kernels;
  Layer<T>& project = layer(context, project_);
  const Index n = context.images;

  parallel_for(div_up(out_, kPanel), n * out_rows_ * kPanel, [&](Index unit) {
    const Index c = unit * kPanel;
    T sums[kPanel];
    MaskArgs<T> args{};
    // Without a mask nothing is written through g.
    args.g = const_cast<T*>(dy) + c, args.g_row = out_;
    args.rows = n * out_rows_, args.cols = std::min(kPanel, out_ - c), args.sum = sums;
    kernels.mask(args);
    project.update_shift(kernels, c, args.cols, sums, project.spec.has_norm ? scale + c : nullptr);
  });
}

template <class T>
typename Block<T>::Scratch Block<T>::part_of(const Scratch& scratch, const ColumnParts& parts, Index part,
                                             Index images) const {
  Scratch own = scratch;
  own.columns = parts.columns;
  if (parts.count == 0) return own;
  const Index begin = parts.begin(part);
  own.columns = parts.width(part);
  own.expand_scale += begin;
  if (own.d_filtered != nullptr) own.d_filtered += images * out_rows_ * begin;
  if (own.d_expanded != nullptr) own.d_expanded += images * in_rows_ * begin;
  if (own.panels != nullptr && !packs_gradient_) own.panels += begin / kPanel * panel_rows() * kPanel;
  return own;
}

// d_filtered of `count` <= kPair channels from `c` on, column `column` of a part: the projection's input gradient.
template <class T>
void Block<T>::filtered_gradient(const Context<T>& context, const Scratch& scratch, const T* dy, Index column, Index c,
                                 Index count) const {
  const Index rows = context.images * out_rows_;
  T* d_filtered = scratch.d_filtered + column;
  if (packs_gradient_) {
    packed_input_grad(*context.kernels, layer(context, project_), c, count, Index(0), out_, scratch.panels, rows,
                      d_filtered, scratch.columns, false);
    return;
  }
  for (Index o = 0; o < out_; o += kPanelRows) {
    pack_project(context, scratch, o, column, c, count);
    project_gradient(context, scratch, o, column, count, dy, rows, d_filtered, scratch.columns);
  }
}

// Are columns too few to share? Then rows of d_filtered are, but not what comes behind it.
template <class T>
bool Block<T>::shares_rows(const ColumnParts& parts) const {
  return parts.units() == 1 && thread_count() > 1 && filtered_grad_ && !packs_gradient_ && !recomputes();
}

template <class T>
void Block<T>::filtered_gradient_by_rows(const Context<T>& context, const Scratch& scratch, const T* dy, Index first,
                                         Index width) const {
  const Index rows = context.images * out_rows_, run = rows_of_a_unit(rows);
  for (Index o = 0; o < out_; o += kPanelRows) {
    pack_project(context, scratch, o, 0, first, width);
    parallel_for(div_up(rows, run), run * std::min(kPanelRows, out_ - o) * width, [&](Index i) {
      const Index row = i * run;
      project_gradient(context, scratch, o, 0, width, dy + row * out_, std::min(run, rows - row),
                       scratch.d_filtered + row * width, width);
    });
  }
}

// The panels of `count` channels from `c` on, for at most kPanelRows output channels from `o` on.
template <class T>
void Block<T>::pack_project(const Context<T>& context, const Scratch& scratch, Index o, Index column, Index c,
                            Index count) const {
  const Layer<T>& project = layer(context, project_);
  const Index slot = panel_rows() * kPanel;
  T* panels = scratch.panels + column / kPanel * slot;
  for (Index done = 0; done < count; done += kPanel) {
    context.kernels->pack({project.params.weight + (c + done) * out_ + o, out_,
                           project.spec.has_norm ? scratch.project_scale + o : nullptr, panels + done / kPanel * slot,
                           std::min(kPanelRows, out_ - o), std::min(kPanel, count - done)});
  }
}

// What those of `count` <= kPair columns give to `rows` pixels of d_filtered.
template <class T>
void Block<T>::project_gradient(const Context<T>& context, const Scratch& scratch, Index o, Index column, Index count,
                                const T* dy, Index rows, T* d_filtered, Index d_filtered_row) const {
  GemmArgs<T> args{};
  args.a = dy + o, args.a_row = out_;
  args.b = scratch.panels + column / kPanel * panel_rows() * kPanel, args.b_panel = panel_rows() * kPanel;
  args.c = d_filtered, args.c_row = d_filtered_row;
  args.rows = rows, args.cols = count;
  args.sum.n1 = std::min(kPanelRows, out_ - o), args.sum.b1 = kPanel;
  args.store = o > 0 ? Store::accumulate : Store::assign;
  context.kernels->gemm(args);
}

// Everything that belongs to `count` <= kPair expanded channels from `c` on, columns of a part, from d_filtered on and
// but for the expansion's own products.
template <class T>
void Block<T>::backward_columns(Context<T>& context, const Scratch& scratch, const Remains& saved, const T* dy,
                                const Target& target, Index c, Index column, Index count) {
  Layer<T>& project = layer(context, project_);
  const T* project_scale = project.spec.has_norm ? scratch.project_scale : nullptr;
  project.update_weight(*context.kernels, context.images, {dy, out_, 0, out_, project_scale}, saved.project, c, count);
  if (!filtered_grad_) return;
  for (Index done = 0; done < count; done += kPanel) {
    const Index panel = column + done;
    const PanelGrad grad = panel_grad(context, c + done, std::min(kPanel, count - done), scratch.d_filtered + panel,
                                      scratch.columns, wide_place(scratch, target, c + done, panel));
    PanelSums sums;
    pass_panel(context, saved, grad, {0, context.images}, sums);
    train_panel(context, scratch, saved, grad, panel, sums);
  }
}

#define SPARSEBP_INSTANTIATE(T)                                                                                     \
  template void Block<T>::backward(Context<T>&);                                                                    \
  template void Block<T>::pack_project(const Context<T>&, const Scratch&, Index, Index, Index, Index) const;        \
  template void Block<T>::project_gradient(const Context<T>&, const Scratch&, Index, Index, Index, const T*, Index, \
                                           T*, Index) const;
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

template <class T>
std::unique_ptr<Op<T>> make_block(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Block<T>>(op, program, declare);
}
template std::unique_ptr<Op<float>> make_block<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_block<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
