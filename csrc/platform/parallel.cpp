#include "platform/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>

#include "core/error.h"
#include "platform/plain_pool.h"
#include "platform/torch_pool.h"

namespace sparsebp {
namespace {

constexpr int kMostThreads = 64;

// Does this thread run a part of a region?
thread_local bool in_region = false;

// The units of one region, shared out evenly. A thread that is done with its own share takes units from the others',
// so that a thread that another program holds up delays a region by one unit and not by half of it.
class Shares {
 public:
  Shares(std::int64_t count, int threads, RangeFunction function, void* context)
      : threads_(threads), function_(function), context_(context) {
    for (int t = 0; t < threads; ++t) {
      shares_[t].next.store(count * t / threads, std::memory_order_relaxed);
      shares_[t].end = count * (t + 1) / threads;
    }
  }

  // A RangeFunction: does the shares of threads [begin, end), then helps the others.
  static void run(std::int64_t begin, std::int64_t end, void* self) {
    Shares& all = *static_cast<Shares*>(self);
    const bool outer = in_region;  // a pool may run several ranges on one thread
    in_region = true;
    for (std::int64_t t = begin; t < end; ++t) all.drain(all.shares_[t]);
    for (std::int64_t t = end; t < begin + all.threads_; ++t) all.drain(all.shares_[t % all.threads_]);
    in_region = outer;
  }

 private:
  struct alignas(64) Share {  // a cache line each; only those of the threads that there are get a value
    std::atomic<std::int64_t> next;
    std::int64_t end;
  };

  void drain(Share& share) {
    for (;;) {
      const std::int64_t unit = share.next.fetch_add(1, std::memory_order_relaxed);
      if (unit >= share.end) return;
      function_(unit, unit + 1, context_);
    }
  }

  Share shares_[kMostThreads];
  const int threads_;
  const RangeFunction function_;
  void* const context_;
};

// Until when regions run serially; see parallel_for_units.
std::atomic<std::int64_t> serial_until{0};
std::atomic<std::int64_t> last_late{0};  // when the last late region ended

std::int64_t nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

PlainPool& plain_pool() {
  static PlainPool pool;
  return pool;
}

HostPool& host_pool() {
  static HostPool pool;
  return pool;
}

// Beside the host's.
ThreadPool& own_pool() {
  ThreadPool* torch = torch_pool();
  return torch != nullptr ? *torch : plain_pool();
}

// Calls `body` with the pool of now, which stays meanwhile.
template <class Body>
auto with_pool(const Body& body) {
  const HostPool::Use host(host_pool());
  return host ? body(host_pool()) : body(own_pool());
}

void require_threads(int threads) {
  if (threads >= 1 && threads <= kMostThreads) return;
  throw InvalidArgument("threads: expected at least 1, at most " + std::to_string(kMostThreads) + ", got " +
                        std::to_string(threads));
}

}  // namespace

void parallel_for_units(std::int64_t count, std::int64_t work, RangeFunction function, void* context) {
  if (count <= 0) return;
  const std::int64_t start = nanoseconds();
  const bool parallel = !in_region && start >= serial_until.load(std::memory_order_relaxed);
  const auto on_threads = [&](ThreadPool& pool) {
    const int threads = static_cast<int>(std::min<std::int64_t>({count, pool.threads(), kMostThreads}));
    if (threads == 1) return false;
    Shares shares(count, threads, function, context);
    pool.run(threads, &Shares::run, &shares);
    return true;
  };
  if (!parallel || !with_pool(on_threads)) {
    function(0, count, context);
    return;
  }
  // Late: a millisecond more than one slow core (1 multiply-add a nanosecond) would have needed by itself. Once may be
  // a core that had to be woken; twice in a row is a core that somebody else uses.
  const std::int64_t end = nanoseconds(), elapsed = end - start;
  if (elapsed > work + 1'000'000) {
    const std::int64_t before = std::max(last_late.load(), serial_until.load());
    if (start - before < 5'000'000) serial_until.store(end + std::min<std::int64_t>(8 * elapsed, 100'000'000));
    last_late.store(end);
  }
}

Alone::Alone(bool alone) : before_(in_region) { in_region |= alone; }
Alone::~Alone() { in_region = before_; }

void set_plain_threads(int threads) {
  require_threads(threads);
  plain_pool().resize(threads);
}

void set_host_pool(HostParallel parallel, void* context, int threads) {
  require_threads(parallel == nullptr ? 1 : threads);
  host_pool().set(parallel, context, threads);
}

int thread_count() {
  if (in_region) return 1;
  return with_pool([](const ThreadPool& pool) { return pool.threads(); });
}

bool runs_alone_for_now() { return nanoseconds() < serial_until.load(std::memory_order_relaxed); }

const char* thread_pool_name() {
  return with_pool([](const ThreadPool& pool) { return pool.name(); });
}

}  // namespace sparsebp
