// A parallel-for over whatever pool the process has: torch's own when torch is loaded, a plain one otherwise.
//
// Callers split work so that every output element is computed by one unit, in one order. Results then do not
// depend on the number of threads.
#pragma once

#include <cstdint>

namespace sparsebp {

using RangeFunction = void (*)(std::int64_t begin, std::int64_t end, void* context);

// Calls `function` on disjoint ranges that cover [0, count). Never allocates.
void parallel_for_ranges(std::int64_t count, RangeFunction function, void* context);

// Calls `body(i)` for every i in [0, count).
template <class Body>
void parallel_for(std::int64_t count, const Body& body) {
  parallel_for_ranges(
      count,
      [](std::int64_t begin, std::int64_t end, void* context) {
        const Body& run = *static_cast<const Body*>(context);
        for (std::int64_t i = begin; i < end; ++i) run(i);
      },
      const_cast<Body*>(&body));
}

// Threads of the plain pool (ignored while torch's pool is in use). Throws InvalidArgument below 1.
void set_plain_threads(int threads);

int thread_count();
const char* thread_pool_name();  // "torch" or "plain"

}  // namespace sparsebp
