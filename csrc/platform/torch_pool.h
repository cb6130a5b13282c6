// torch's own threads, wherever torch is loaded, so that two pools never fight over the cores.
//
// Nothing here links or loads torch: its entry points are looked up among the libraries that the process already has.
#pragma once

#include "platform/parallel.h"

namespace sparsebp {

class TorchPool {
 public:
  // Null while no torch is loaded whose threads can be used. Cheap: looks again only after another library was loaded.
  static const TorchPool* find();

  // What torch.set_num_threads says.
  int threads() const;

  // Calls `function` on disjoint ranges that cover [0, threads). Inside a region of torch's, all on this thread.
  void run(int threads, RangeFunction function, void* context) const;

 private:
  // A C ABI, since torch 2.10.
  int (*parallel_for_)(std::int64_t, std::int64_t, std::int64_t, RangeFunction, void*) = nullptr;
  int (*thread_count_)(std::uint32_t*) = nullptr;
  // Before: at::get_num_threads(), and the OpenMP runtime that torch's own parallel-for compiles into.
  int (*get_num_threads_)() = nullptr;
  void (*gomp_parallel_)(void (*)(void*), void*, unsigned threads, unsigned flags) = nullptr;

  bool usable() const { return (parallel_for_ && thread_count_) || (get_num_threads_ && gomp_parallel_); }
};

}  // namespace sparsebp
