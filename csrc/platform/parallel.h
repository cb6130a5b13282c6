// A parallel-for over whatever pool the process has: that of the host program if it gave one, torch's when torch is
// loaded, a plain one otherwise.
//
// Callers split work so that every output element is computed by one unit, in one order. Results then do not
// depend on the number of threads.
#pragma once

#include <cstdint>

#include "platform/host_pool.h"

namespace sparsebp {

// Calls `function` on disjoint ranges that cover [0, count), on up to 64 threads. `work` is about how many
// multiply-adds that costs. Never allocates. A region inside a region runs on its own thread. When another program
// keeps a core busy, a region waits a time slice for its slowest thread; after two such waits in a row the following
// regions run on the calling thread for a while.
void parallel_for_units(std::int64_t count, std::int64_t work, RangeFunction function, void* context);

// Regions cheaper than this many multiply-adds run on the calling thread: about 5 us on one core, where waking a pool
// costs 2 us on a quiet machine.
constexpr std::int64_t kSerialWork = 150'000;

// Calls `body(i)` for every i in [0, count). `unit_work` is about how many multiply-adds one call costs.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t unit_work, const Body& body) {
  if (count * unit_work < kSerialWork) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  parallel_for_units(
      count, count * unit_work,
      [](std::int64_t begin, std::int64_t end, void* context) {
        const Body& run = *static_cast<const Body*>(context);
        for (std::int64_t i = begin; i < end; ++i) run(i);
      },
      const_cast<Body*>(&body));
}

// While it lives, this thread runs its regions alone, if `alone`: what several threads made of too little work, they
// would have to fetch from each other.
class Alone {
 public:
  explicit Alone(bool alone);
  ~Alone();
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;

 private:
  const bool before_;
};

// Threads of the plain pool (ignored while another pool is in use), 1 to 64; waits for a region that runs. Throws
// InvalidArgument for another number.
void set_plain_threads(int threads);

// Runs regions on threads of the host program, at most `threads`, 1 to 64; null goes back to the other pools. Waits for
// regions that run. Throws InvalidArgument for another number.
void set_host_pool(HostParallel parallel, void* context, int threads);

int thread_count();
// Do regions run on the calling thread at the moment, for another program keeps a core busy?
bool runs_alone_for_now();
const char* thread_pool_name();  // "host", "torch" or "plain"

}  // namespace sparsebp
