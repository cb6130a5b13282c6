// Forward on several threads, each in a lane of its own: an equal part of the buffers, in which it takes its share of
// the images, or of their rows, through the whole block, strip by strip. So it reads what it wrote itself. What another
// thread wrote comes through the third-level cache, several times slower; sharing channels instead costs that for the
// whole input and for half of what is projected. The bits are the same.
#include <algorithm>

#include "platform/parallel.h"
#include "program/ops/block.h"
#include "program/product.h"

namespace sparsebp {

template <class T>
typename Block<T>::Lanes Block<T>::lanes(const Context<T>& context) const {
  const Index threads = thread_count(), n = context.images;
  if (threads == 1 || !shares_ || forward_block_ < wide_) return {};
  // For each channel: the pixels that would cross from thread to thread, against the weights that every thread reads.
  if (n * out_rows_ < in_ + out_) return {};
  Lanes lanes{threads, context.strips.count / threads / kPanel * kPanel, 0, 0};
  const Index pixels = lanes.size / wide_;
  if (images_suit(n, threads)) lanes.images = std::min(strips_.most_images(pixels, expands_), div_up(n, threads));
  if (lanes.images == 0) lanes.rows = strips_.most_rows(pixels, expands_);
  return lanes.images + lanes.rows > 0 ? lanes : Lanes{};
}

template <class T>
void Block<T>::forward_in_lanes(const Context<T>& context, Pass& pass, const Lanes& lanes) const {
  const ConvShape& s = layer(context, depthwise_).spec.shape;
  const Index n = context.images, all = lanes.images > 0 ? n : n * s.out_height;
  const Index held = !expands_ ? 0 : lanes.images > 0 ? lanes.images * in_rows_ : strips_.held_pixels_of(lanes.rows);
  fold_columns(context, pass, 0, wide_);
  pass.folded = true;
  const Index work = n * wide_ * (in_rows_ * in_ + out_rows_ * (s.taps() + out_));
  T* const buffers = pass.expanded;
  parallel_for(lanes.count, work / lanes.count, [&](Index lane) {
    Pass part = pass;
    part.expanded = buffers + lane * lanes.size, part.filtered = part.expanded + held * wide_;
    const Index end = all * (lane + 1) / lanes.count;
    for (Index begin = all * lane / lanes.count; begin < end;) {
      if (lanes.images > 0) {
        part.strip = strips_.whole(begin, std::min(lanes.images, end - begin));
        forward_strip(context, part);
        begin += part.strip.images;
      } else {
        const Index row = begin % s.out_height, count = std::min(s.out_height - row, end - begin);
        forward_image_rows(context, part, begin / s.out_height, {row, row + count}, lanes.rows);
        begin += count;
      }
    }
  });
}

// Output rows `out` of an image, in strips of at most `most` rows.
template <class T>
void Block<T>::forward_image_rows(const Context<T>& context, Pass& pass, Index image, Range out, Index most) const {
  const Index count = out.end - out.begin, rows = div_up(count, div_up(count, most));
  for (Index row = out.begin; row < out.end; row += rows) {
    Strip& strip = pass.strip;
    strip = strips_.part(image, {row, std::min(row + rows, out.end)}, row == out.begin ? 0 : rows);
    if (row == out.begin && expands_ && strip.old > 0) {
      // What the rows above reach as well, another lane expands and keeps.
      Pass above = pass;
      above.saved = {};
      above.strip.held.end = strip.held.begin + strip.old, above.strip.old = 0;
      for (Index c = 0; c < wide_; c += kPair) expand_columns(context, above, c, std::min(kPair, wide_ - c));
    }
    forward_strip(context, pass);
  }
}

#define SPARSEBP_INSTANTIATE(T)                                               \
  template typename Block<T>::Lanes Block<T>::lanes(const Context<T>&) const; \
  template void Block<T>::forward_in_lanes(const Context<T>&, Pass&, const Lanes&) const;
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
