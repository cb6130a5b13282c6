#include "platform/plain_pool.h"

#include <algorithm>
#include <chrono>

namespace sparsebp {
namespace {

// To be woken takes some 50 us, and a step has a hundred regions, most of them a few apart: for so long it pays to stay
// awake. Not where there are more threads than processors: who waits would keep who works from its processor.
constexpr std::chrono::microseconds kAwake{50};

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield");
#endif
}

template <class Ready>
void stay_awake(int threads, const Ready& ready) {
  static const unsigned processors = std::thread::hardware_concurrency();
  if (static_cast<unsigned>(threads) > processors) return;
  const auto end = std::chrono::steady_clock::now() + kAwake;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
}

}  // namespace

void PlainPool::resize(int threads) {
  const std::lock_guard<std::mutex> region(region_);
  stop();
  stopping_ = false;
  for (threads_ = 1; threads_ < threads; ++threads_) {
    workers_.emplace_back([this, number = threads_.load()] { work(number); });
  }
}

void PlainPool::run(int count, RangeFunction function, void* context) {
  std::unique_lock<std::mutex> region(region_, std::try_to_lock);
  if (!region.owns_lock() || workers_.empty()) {
    function(0, count, context);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    count_ = count, function_ = function, context_ = context;
    taken_ = 0, open_ = true;
    ++generation_;
  }
  wake_.notify_all();
  drain(0);
  {
    // Who has not come by now finds nothing left to do, and is not waited for: it may have no processor.
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = false;
  }
  stay_awake(threads(), [this] { return working_ == 0; });
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return working_ == 0; });
}

// Each takes its own range, then those that nobody has come for.
void PlainPool::drain(int own) {
  for (int k = 0; k < count_; ++k) {
    const int i = (own + k) % count_;
    const std::uint64_t bit = std::uint64_t{1} << i;
    if ((taken_.fetch_or(bit, std::memory_order_relaxed) & bit) == 0) function_(i, i + 1, context_);
  }
}

void PlainPool::work(int number) {
  std::uint64_t seen = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    seen = start_generation_;
  }
  bool in_time = true;  // who came too late shares its processor with somebody, and goes to sleep at once
  for (;;) {
    if (in_time) stay_awake(threads(), [&] { return stopping_ || generation_ != seen; });
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
      in_time = open_ || number >= count_;
      if (!open_ || number >= count_) continue;
      ++working_;
    }
    drain(number);
    std::lock_guard<std::mutex> lock(mutex_);
    if (--working_ == 0) done_.notify_one();
  }
}

void PlainPool::stop() {
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

}  // namespace sparsebp
