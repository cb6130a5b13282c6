#include "platform/plain_pool.h"

#include <algorithm>

namespace sparsebp {

void PlainPool::resize(int threads) {
  const std::lock_guard<std::mutex> region(region_);
  stop();
  stopping_ = false;
  for (threads_ = 1; threads_ < threads; ++threads_) workers_.emplace_back([this, i = threads_.load()] { work(i); });
}

void PlainPool::run(int count, RangeFunction function, void* context) {
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

void PlainPool::run_share(int index) {
  const std::int64_t share = (count_ + threads() - 1) / threads();
  const std::int64_t begin = std::min(count_, index * share), end = std::min(count_, begin + share);
  if (begin < end) function_(begin, end, context_);
}

void PlainPool::work(int index) {
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
