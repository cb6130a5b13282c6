// Backward on several threads that share the images: each has the gradients of its own from the block's output down to
// the expanded channels, and most of what it reads it wrote itself. The weights are packed once for all of them, and
// what is trained by all images is trained when these are done.
#include <algorithm>

#include "platform/parallel.h"
#include "program/convolution.h"
#include "program/ops/block.h"

namespace sparsebp {

template <class T>
bool Block<T>::shares_images(const Context<T>& context) const {
  const Index threads = thread_count(), n = context.images;
  if (threads == 1 || !images_suit(n, threads) || !filtered_grad_ || packs_gradient_ || recomputes()) return false;
  if (out_rows_ < 2 || layer(context, depthwise_).wants_weight_grad()) return false;  // see image_sums
  // As forward. Where nobody wants a gradient of the input, columns have nothing to exchange.
  return input_grad_ && n * out_rows_ >= in_ + out_;
}

// d_filtered from column `column` of the block on: pairs of panels lie one behind the other, [pixels][row].
template <class T>
typename Block<T>::PairPlace Block<T>::pair_place(const Context<T>& context, const Scratch& scratch,
                                                  Index column) const {
  const Index pair = column / kPair * kPair;
  return {scratch.d_filtered + pair * context.images * out_rows_ + column - pair,
          std::min(kPair, scratch.columns - pair)};
}

template <class T>
typename Block<T>::PanelGrad Block<T>::panel_of_images(const Context<T>& context, const Scratch& scratch,
                                                       const Target& target, Index first, Index column) const {
  const PairPlace place = pair_place(context, scratch, column);
  return panel_grad(context, first + column, std::min(kPanel, scratch.columns - column), place.data, place.row,
                    wide_place(scratch, target, first + column, column));
}

// Where the sums of an image lie until all are done: over the first two pixels of its d_filtered, used up by then.
template <class T>
T* Block<T>::image_sums(const PanelGrad& grad, Index image) const {
  return grad.filtered + image * out_rows_ * grad.filtered_row;
}

template <class T>
void Block<T>::backward_images(Context<T>& context, const Scratch& scratch, const Remains& saved, const T* dy,
                               const Target& target, Index first) {
  const Index n = context.images, width = scratch.columns, lanes = std::min<Index>(thread_count(), n);
  const Index taps = layer(context, depthwise_).spec.shape.taps();
  for (Index o = 0; o < out_; o += kPanelRows) {
    const Index run = std::min(kPanelRows, out_ - o);
    parallel_for(div_up(width, kPair), 2 * pack_work(run), [&](Index pair) {
      const Index column = pair * kPair;
      pack_project(context, scratch, o, column, first + column, std::min(kPair, width - column));
    });
    parallel_for(lanes, n * width * (out_rows_ * run + in_rows_ * taps) / lanes, [&](Index lane) {
      const Range images{n * lane / lanes, n * (lane + 1) / lanes};
      const Index pixel = images.begin * out_rows_, pixels = (images.end - images.begin) * out_rows_;
      for (Index column = 0; column < width; column += kPair) {
        const auto [d_filtered, row] = pair_place(context, scratch, column);
        project_gradient(context, scratch, o, column, row, dy + pixel * out_, pixels, d_filtered + pixel * row, row);
        if (o + run < out_) continue;
        for (Index panel = column; panel < column + row; panel += kPanel) {
          const PanelGrad grad = panel_of_images(context, scratch, target, first, panel);
          for (Index image = images.begin; image < images.end; ++image) {
            PanelSums sums;
            pass_panel(context, saved, grad, {image, image + 1}, sums);
            T* kept = image_sums(grad, image);
            std::copy_n(sums.filtered, grad.count, kept);
            std::copy_n(sums.expanded, grad.count, kept + grad.filtered_row);
          }
        }
      }
    });
  }
  train_by_images(context, scratch, saved, dy, target, first);
}

template <class T>
void Block<T>::train_by_images(Context<T>& context, const Scratch& scratch, const Remains& saved, const T* dy,
                               const Target& target, Index first) {
  Layer<T>& project = layer(context, project_);
  const Index n = context.images, width = scratch.columns;
  // Of the channels of a pair about as many are selected as of others.
  const Index trained = project.wants_weight_grad() ? project.spec.selected * out_ * out_rows_ * kPair / wide_ : 0;
  const OutputGrad<T> grad{dy, out_, 0, out_, project.spec.has_norm ? scratch.project_scale : nullptr};
  parallel_for(div_up(width, kPair), n * (trained + 2 * kPair), [&](Index pair) {
    const Index begin = pair * kPair, end = std::min(begin + kPair, width);
    project.update_weight(*context.kernels, n, grad, saved.project, first + begin, end - begin);
    for (Index column = begin; column < end; column += kPanel) {
      const PanelGrad panel = panel_of_images(context, scratch, target, first, column);
      PanelSums sums;
      for (Index image = 0; image < n; ++image) {
        const T* kept = image_sums(panel, image);
        sums.add(kept, kept + panel.filtered_row, panel.count);
      }
      train_panel(context, scratch, saved, panel, column, sums);
    }
  });
}

#define SPARSEBP_INSTANTIATE(T)                                   \
  template bool Block<T>::shares_images(const Context<T>&) const; \
  template void Block<T>::backward_images(Context<T>&, const Scratch&, const Remains&, const T*, const Target&, Index);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
