#include "platform/host_pool.h"

#include <mutex>

namespace sparsebp {

void HostPool::set(HostParallel parallel, void* context, int threads) {
  const std::unique_lock<std::shared_mutex> lock(mutex_);
  parallel_ = parallel, context_ = context, threads_ = threads;
}

void HostPool::run(int threads, RangeFunction function, void* context) {
  struct Work {
    RangeFunction function;
    void* context;
    static void task(void* self, int index) {
      const Work& work = *static_cast<Work*>(self);
      work.function(index, index + 1, work.context);
    }
  } work{function, context};
  parallel_(context_, threads, &Work::task, &work);
}

}  // namespace sparsebp
