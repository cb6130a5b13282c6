#include "cases.h"

namespace sparsebp {

std::vector<KernelBench> kernel_benches() {
  std::vector<KernelBench> out;
  for (const auto& part : {dense_benches(), depthwise_benches(), elementwise_benches()}) {
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

}  // namespace sparsebp
