#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/torch_pool.h"

namespace sparsebp {
namespace {

// Workers that wait for a range. One parallel region at a time; a nested or concurrent one runs serially.
class PlainPool {
 public:
  ~PlainPool() { stop(); }

  void resize(int threads) {
    const std::lock_guard<std::mutex> region(region_);
    stop();
    stopping_ = false;
    for (threads_ = 1; threads_ < threads; ++threads_) workers_.emplace_back([this, i = threads_.load()] { work(i); });
  }

  int threads() const { return threads_; }

  void run(std::int64_t count, RangeFunction function, void* context) {
    std::unique_lock<std::mutex> region(region_, std::try_to_lock);
    if (!region.owns_lock() || workers_.empty()) {
      function(0, count, context);
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      count_ = count;
      function_ = function;
      context_ = context;
      pending_ = static_cast<int>(workers_.size());
      ++generation_;
    }
    wake_.notify_all();
    run_share(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
  }

 private:
  void run_share(int index) {
    const std::int64_t share = (count_ + threads() - 1) / threads();
    const std::int64_t begin = std::min(count_, index * share), end = std::min(count_, begin + share);
    if (begin < end) function_(begin, end, context_);
  }

  void work(int index) {
    std::uint64_t seen = 0;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      seen = start_generation_;
    }
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
        if (stopping_) return;
        seen = generation_;
      }
      run_share(index);
      std::lock_guard<std::mutex> lock(mutex_);
      if (--pending_ == 0) done_.notify_one();
    }
  }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      start_generation_ = generation_;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    threads_ = 1;
  }

  std::vector<std::thread> workers_;
  std::atomic<int> threads_{1};  // with the calling one
  std::mutex region_, mutex_;
  std::condition_variable wake_, done_;
  std::int64_t count_ = 0;
  RangeFunction function_ = nullptr;
  void* context_ = nullptr;
  int pending_ = 0;
  std::uint64_t generation_ = 0, start_generation_ = 0;
  bool stopping_ = false;
};

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
