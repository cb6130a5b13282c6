// Threads of the program that hosts the library, in the place of any other.
#pragma once

#include <shared_mutex>

#include "platform/thread_pool.h"

namespace sparsebp {

// Calls `task(index, work)` for every index in [0, count), at the same time or one after the other, and returns when
// all of them have returned.
using HostParallel = void (*)(void* context, int count, void (*task)(void* work, int index), void* work);

class HostPool final : public ThreadPool {
 public:
  // Null takes it away again. Waits for regions that run.
  void set(HostParallel parallel, void* context, int threads);

  // Holds on to the function of now while it lives; false if there is none.
  class Use {
   public:
    explicit Use(HostPool& pool) : lock_(pool.mutex_), given_(pool.parallel_ != nullptr) {}
    explicit operator bool() const { return given_; }

   private:
    std::shared_lock<std::shared_mutex> lock_;
    bool given_;
  };

  const char* name() const override { return "host"; }
  int threads() const override { return threads_; }
  void run(int threads, RangeFunction function, void* context) override;

 private:
  std::shared_mutex mutex_;
  HostParallel parallel_ = nullptr;
  void* context_ = nullptr;
  int threads_ = 1;
};

}  // namespace sparsebp
