#include "training/loss.h"

#include <algorithm>
#include <cmath>

namespace sparsebp {

template <class T>
Loss cross_entropy(const T* logits, const std::int32_t* labels, Index images, Index classes, Index outputs,
                   double smoothing, double confident_above, double scale, T* grad) {
  Loss out;
  out.confident = images > 0;
  const double everywhere = smoothing / static_cast<double>(classes);
  for (Index i = 0; i < images; ++i) {
    const T* z = logits + i * outputs;
    const Index label = labels[i];
    const Index best = std::max_element(z, z + classes) - z;
    const double top = static_cast<double>(z[best]);
    double sum = 0, all = 0;
    for (Index c = 0; c < classes; ++c) {
      sum += std::exp(static_cast<double>(z[c]) - top);
      all += static_cast<double>(z[c]);
    }
    const double log_sum = top + std::log(sum), own = static_cast<double>(z[label]);
    out.mean += (1 - smoothing) * (log_sum - own) + smoothing * (log_sum - all / static_cast<double>(classes));
    out.correct += best == label;
    out.confident = out.confident && std::exp(own - log_sum) > confident_above;
    if (grad == nullptr) continue;
    for (Index c = 0; c < classes; ++c) {
      const double target = everywhere + (c == label ? 1 - smoothing : 0);
      const double probability = std::exp(static_cast<double>(z[c]) - log_sum);
      grad[i * outputs + c] = static_cast<T>((probability - target) / static_cast<double>(images) * scale);
    }
    std::fill(grad + i * outputs + classes, grad + (i + 1) * outputs, T(0));
  }
  out.mean /= static_cast<double>(std::max<Index>(images, 1));
  return out;
}

template Loss cross_entropy<float>(const float*, const std::int32_t*, Index, Index, Index, double, double, double,
                                   float*);
template Loss cross_entropy<double>(const double*, const std::int32_t*, Index, Index, Index, double, double, double,
                                    double*);

}  // namespace sparsebp
