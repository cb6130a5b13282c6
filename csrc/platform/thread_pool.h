// Threads that somebody keeps: torch, the program that hosts the library, or we ourselves.
#pragma once

#include <cstdint>

namespace sparsebp {

using RangeFunction = void (*)(std::int64_t begin, std::int64_t end, void* context);

class ThreadPool {
 public:
  virtual const char* name() const = 0;
  // On how many threads a region may run.
  virtual int threads() const = 0;
  // Calls `function` on disjoint ranges that cover [0, threads), and returns when all of them are done. Several threads
  // may call it at once; never from inside a range.
  virtual void run(int threads, RangeFunction function, void* context) = 0;

 protected:
  ~ThreadPool() = default;
};

}  // namespace sparsebp
