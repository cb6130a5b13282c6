// Softmax cross-entropy with label smoothing: the loss of a micro-batch, its gradient, and how well it was recognised.
//
// Computed in double precision whatever the network's type, so that the gradient is the rounded true one: the same on
// every processor, and what torch's cross_entropy gives for outputs in double.
#pragma once

#include "kernels/args.h"

namespace sparsebp {

struct Loss {
  double mean = 0;         // over the images
  Index correct = 0;       // images whose largest logit is their class
  bool confident = false;  // every image has its class's probability above the threshold
};

// logits: [images][outputs], of which the first `classes` count; labels: [images], below `classes`; grad:
// [images][outputs], `scale` times the gradient of the mean, or null. The target is (1 - smoothing) of the class and
// `smoothing` spread over all classes.
template <class T>
Loss cross_entropy(const T* logits, const std::int32_t* labels, Index images, Index classes, Index outputs,
                   double smoothing, double confident_above, double scale, T* grad);

}  // namespace sparsebp
