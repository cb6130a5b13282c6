#include "isa/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "platform/parallel.h"

namespace sparsebp {

double fma_peak(const Isa& isa) {
  constexpr Index kRounds = 50'000, kUnits = 4, kTries = 5;  // units of a thread: a late one leaves some to the others
  const Index units = kUnits * thread_count();
  double best = 0;
  for (Index attempt = 0; attempt < kTries; ++attempt) {
    std::atomic<Index> operations{0};
    const auto begin = std::chrono::steady_clock::now();
    parallel_for(units, kRounds * 100, [&](Index) {
      float sink = 0;
      operations += isa.float32->fma_burst(kRounds, &sink);
    });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    best = std::max(best, static_cast<double>(operations.load()) / elapsed.count() / 1e9);
  }
  return best;
}

}  // namespace sparsebp
