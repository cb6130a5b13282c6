// Threads of our own, for processes without torch: workers that wait for a range.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "platform/thread_pool.h"

namespace sparsebp {

class PlainPool final : public ThreadPool {
 public:
  ~PlainPool() { stop(); }

  // With the calling thread. Waits for a region that runs.
  void resize(int threads);

  const char* name() const override { return "plain"; }
  int threads() const override { return threads_; }
  // One region at a time; a concurrent one runs serially.
  void run(int count, RangeFunction function, void* context) override;

 private:
  void run_share(int index);
  void work(int index);
  void stop();

  std::vector<std::thread> workers_;
  std::atomic<int> threads_{1};
  std::mutex region_, mutex_;
  std::condition_variable wake_, done_;
  std::int64_t count_ = 0;
  RangeFunction function_ = nullptr;
  void* context_ = nullptr;
  int pending_ = 0;
  std::uint64_t generation_ = 0, start_generation_ = 0;
  bool stopping_ = false;
};

}  // namespace sparsebp
