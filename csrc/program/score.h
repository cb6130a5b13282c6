// The running gradient norm of a channel, which importance sampling draws by.
#pragma once

#include <cmath>

#include "core/shape.h"

namespace sparsebp {

// `score` is negative before the first visit; `energy` is the squared norm of this pass's gradient.
SPARSEBP_INLINE float next_score(float score, float energy) {
  constexpr float kDecay = 0.9f;  // a visit
  const float norm = sqrtf(energy);
  return score < 0 ? norm : kDecay * score + (1 - kDecay) * norm;
}

}  // namespace sparsebp
