// Threads of our own, for processes without torch: workers that wait for a range, awake at first and then asleep.
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
  // One region of at most 64 ranges at a time; a concurrent one runs serially. Each range goes to the same thread every
  // time, in whose cache lies what it touched before, unless that thread is late.
  void run(int count, RangeFunction function, void* context) override;

 private:
  void drain(int own);
  void work(int number);
  void stop();

  std::vector<std::thread> workers_;
  std::atomic<int> threads_{1};
  std::mutex region_, mutex_;
  std::condition_variable wake_, done_;
  // Of the region that runs: what is to be done, and whether a worker may still join.
  int count_ = 0;
  RangeFunction function_ = nullptr;
  void* context_ = nullptr;
  bool open_ = false;
  std::atomic<std::uint64_t> taken_{0};  // a bit for each range
  // Changed under the mutex, and looked at without it by who has not gone to sleep yet.
  std::atomic<int> working_{0};
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<bool> stopping_{false};
  std::uint64_t start_generation_ = 0;
};

}  // namespace sparsebp
