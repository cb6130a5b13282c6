// Threads of our own, for processes without torch: workers that wait for a range.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "platform/parallel.h"

namespace sparsebp {

class PlainPool {
 public:
  ~PlainPool() { stop(); }

  // With the calling thread. Waits for a region that runs.
  void resize(int threads);
  int threads() const { return threads_; }

  // Calls `function` on disjoint ranges that cover [0, count). One region at a time; a nested or concurrent one runs
  // serially.
  void run(std::int64_t count, RangeFunction function, void* context);

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
