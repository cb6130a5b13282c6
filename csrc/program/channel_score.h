// The running gradient norm of a channel, which importance sampling draws by.
#pragma once

#include <cmath>

#include "core/shape.h"

namespace sparsebp {

// `score` is negative before the first visit; `squared_norm` is that of this pass's gradient.
SPARSEBP_INLINE float updated_score(float score, float squared_norm) {
  constexpr float kDecay = 0.9f;  // a visit
  const float norm = sqrtf(squared_norm);
  return score < 0 ? norm : kDecay * score + (1 - kDecay) * norm;
}

}  // namespace sparsebp
