// What a norm by an image's own statistics acquires while it runs, wherever that is.
#pragma once

#include "program/layer.h"
#include "program/op.h"

namespace sparsebp {

// Over which numbers the statistics of a norm go: of one image, those of a group of channels; or of one pixel, all
// channels. Groups are counted over all images.
struct NormGroups {
  NormGroups(const OpSpec& op, const ValueSpec& value)
      : pixels(op.kind == OpKind::layer_norm ? 1 : value.pixels()),
        channels(value.channels / (op.kind == OpKind::layer_norm ? 1 : op.groups)),
        of_image(op.kind == OpKind::layer_norm ? value.pixels() : op.groups),
        row(value.channels) {}

  Index count(Index images) const { return images * of_image; }
  SPARSEBP_INLINE Index size() const { return pixels * channels; }
  // Where the first number of a group lies, and its channel; the next pixel's lies `row` further.
  SPARSEBP_INLINE Index begin(Index group) const {
    return channels == row ? group * pixels * row : group / of_image * pixels * row + channel(group);
  }
  SPARSEBP_INLINE Index channel(Index group) const { return channels == row ? 0 : group % of_image * channels; }

  Index pixels, channels, of_image, row;
};

template <class T>
class GroupNormBuffers : public Op<T> {
 public:
  GroupNormBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Op<T>(op),
        layer_(op.layers.at(0)),
        value_(program.values[static_cast<std::size_t>(op.output)]),
        groups_(op, value_) {
    fold_ = declare.forward_scratch("fold", 2 * value_.channels);
    if (!declare.in_span || !declare.input_grad) return;
    normed_ = declare.template kept<T>("normed", declare.batch * value_.count());
    inverse_ = declare.template kept<T>("inverse deviations", groups_.count(declare.batch));
    scale_ = declare.backward_scratch("scale", value_.channels);
  }

 protected:
  Layer<T>& layer(Context<T>& context) const { return context.layers[static_cast<std::size_t>(layer_)]; }
  // While a forward pass saves: null where backward needs none.
  T* acquire_normed(Context<T>& context) const {
    if (!context.save || normed_ < 0) return nullptr;
    return context.training.template acquire<T>(normed_, context.images * value_.count());
  }
  T* acquire_inverse(Context<T>& context) const {
    if (!context.save || inverse_ < 0) return nullptr;
    return context.training.template acquire<T>(inverse_, groups_.count(context.images));
  }
  const T* normed(Context<T>& context) const { return context.training.template at<T>(normed_); }
  const T* inverse(Context<T>& context) const { return context.training.template at<T>(inverse_); }

  const int layer_;
  const ValueSpec value_;
  const NormGroups groups_;
  int fold_ = -1, scale_ = -1;

 private:
  int normed_ = -1, inverse_ = -1;
};

}  // namespace sparsebp
