// Normalised steps: a parameter's learning rate divided by the root of its running mean squared gradient, one number
// for the whole tensor. Layers whose gradients differ by orders of magnitude then move at one pace, at the price of
// two floats each.
#pragma once

#include <cmath>

#include "kernels/args.h"

namespace sparsebp {

constexpr double kSquareDecay = 0.999;  // of a mean square, from one pass or sum of passes to the next

// Lives in the arena, zero before the first pass.
struct MeanSquare {
  float sum = 0, weight = 0;  // exponential sums of the squares and of ones: their quotient knows no cold start

  // `square`: the mean over the elements of one pass's gradient. One that overflowed is not worth remembering.
  SPARSEBP_INLINE void add(double square, double decay) {
    if (!(square - square == 0)) return;  // not finite
    sum = static_cast<float>(decay * static_cast<double>(sum) + (1 - decay) * square);
    weight = static_cast<float>(decay * static_cast<double>(weight) + (1 - decay));
  }

  SPARSEBP_INLINE double root() const {
    return weight > 0 ? sqrt(static_cast<double>(sum) / static_cast<double>(weight)) : 0;
  }
};

// How one parameter trains. A parameter that no optimizer owns is left alone.
struct Rule {
  Sgd sgd;                  // as the optimizer has it
  double square_decay = 0;  // of its MeanSquare; 0: steps are not normalised
  bool on = false;
  Sgd now;  // what a gradient meets in this pass

  // For gradients that are used up row by row, before their own square is known. Until kFirstPasses have been measured
  // nothing moves: one picture's gradient may be far from the next one's.
  SPARSEBP_INLINE Sgd step_before(const MeanSquare* square) const {
    if (square_decay == 0 || square == nullptr) return sgd;
    const bool known = static_cast<double>(square->weight) > 1 - pow(square_decay, kFirstPasses - 0.5);
    return normalised(known ? square->root() : 0);
  }

  // For a gradient that `square` knows already.
  SPARSEBP_INLINE Sgd step_after(const MeanSquare* square) const {
    return square_decay == 0 || square == nullptr ? sgd : normalised(square->root());
  }

 private:
  static constexpr int kFirstPasses = 16;
  static constexpr double kLeast = 1e-8;  // a gradient that vanishes must not become a step

  // Weight decay keeps its pace.
  SPARSEBP_INLINE Sgd normalised(double root) const {
    if (root == 0) return {0, 0, sgd.momentum};
    const double scale = root + kLeast;
    return {sgd.rate / scale, sgd.weight_decay * scale, sgd.momentum};
  }
};

}  // namespace sparsebp
