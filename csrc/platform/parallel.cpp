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
    for (std::int64_t t = begin; t < end; ++t) all.drain(all.shares_[t]);
    for (std::int64_t t = end; t < begin + all.threads_; ++t) all.drain(all.shares_[t % all.threads_]);
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

}  // namespace

void parallel_for_units(std::int64_t count, std::int64_t work, RangeFunction function, void* context) {
  if (count <= 0) return;
  const std::int64_t start = nanoseconds();
  const int threads = static_cast<int>(std::min<std::int64_t>({count, thread_count(), kMostThreads}));
  if (threads == 1 || start < serial_until.load(std::memory_order_relaxed)) {
    function(0, count, context);
    return;
  }
  Shares shares(count, threads, function, context);
  if (const TorchPool* torch = TorchPool::find()) {
    torch->run(threads, &Shares::run, &shares);
  } else {
    plain_pool().run(threads, &Shares::run, &shares);
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

void set_plain_threads(int threads) {
  if (threads < 1 || threads > kMostThreads) {
    throw InvalidArgument("threads: expected at least 1, at most " + std::to_string(kMostThreads) + ", got " +
                          std::to_string(threads));
  }
  plain_pool().resize(threads);
}

int thread_count() {
  if (const TorchPool* torch = TorchPool::find()) return torch->threads();
  return plain_pool().threads();
}

const char* thread_pool_name() { return TorchPool::find() != nullptr ? "torch" : "plain"; }

}  // namespace sparsebp
