// CUDA's execution model on this processor, as far as sparsebp's kernels use it: for tests on machines without a GPU.
//
// Blocks run one after the other, the threads of a block as fibers that hand over at __syncthreads, in an order that
// changes from launch to launch, so that a missing barrier shows. Device memory starts out as NaN.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <vector>

#define __host__
#define __device__
#define __global__
#define __launch_bounds__(...)
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorStreamCaptureUnsupported = 900
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeRelaxed = 2 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrPageableMemoryAccess };
using cudaStream_t = struct EmulatedStream*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace emulated {

class Block {
 public:
  static Block& instance() {
    static Block block;
    return block;
  }

  template <class Body>
  void run(const Body& body, unsigned threads, unsigned seed) {
    body_ = [](void* b) { (*static_cast<const Body*>(b))(); };
    argument_ = const_cast<Body*>(&body);
    if (fibers_.size() < threads) fibers_.resize(threads);
    order_.resize(threads);
    for (unsigned i = 0; i < threads; ++i) order_[i] = (i * step(threads, seed) + seed) % threads;
    done_ = 0;
    for (unsigned i = 0; i < threads; ++i) fibers_[i].done = false;
    while (done_ < threads) {
      for (unsigned i : order_) {
        if (fibers_[i].done) continue;
        current_ = i;
        threadIdx = dim3(i, 0, 0);
        if (_setjmp(scheduler_) == 0) {
          if (fibers_[i].stack.empty()) start(fibers_[i]);
          _longjmp(fibers_[i].place, 1);
        }
      }
    }
  }

  void barrier() {
    if (_setjmp(fibers_[current_].place) == 0) _longjmp(scheduler_, 1);
  }

 private:
  static constexpr std::size_t kStack = 32 * 1024;
  struct Fiber {
    jmp_buf place;
    std::vector<char> stack;
    bool done = true;
  };

  // A number without a common divisor with a power of two.
  static unsigned step(unsigned threads, unsigned seed) {
    return (threads & (threads - 1)) == 0 ? 2 * (seed % 64) + 1 : 1;
  }

  // A context starts a fiber, which takes part in every block from then on: jumps, which unlike contexts need no system
  // call, move between them.
  static void start(Fiber& fiber) {
    ucontext_t context;
    fiber.stack.resize(kStack);
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.data(), context.uc_stack.ss_size = kStack;
    context.uc_link = nullptr;
    makecontext(&context, &Block::live, 0);
    setcontext(&context);
  }

  static void live() {
    Block& block = instance();
    for (;;) {
      block.body_(block.argument_);
      block.fibers_[block.current_].done = true;
      ++block.done_;
      block.barrier();
    }
  }

  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  jmp_buf scheduler_;
  std::vector<Fiber> fibers_;
  std::vector<unsigned> order_;
  unsigned current_ = 0, done_ = 0;
};

// What a stream was told while it was captured.
using Graph = std::vector<std::function<void()>>;
inline Graph* capturing = nullptr;

// Now, or when the graph is replayed.
template <class Work>
void submit(const Work& work) {
  if (capturing != nullptr) {
    capturing->push_back(work);
  } else {
    work();
  }
}

template <class Body>
Graph capture(const Body& body) {
  Graph graph;
  capturing = &graph;
  body();
  capturing = nullptr;
  return graph;
}

inline void replay(const Graph& graph) {
  for (const auto& work : graph) work();
}

template <class Kernel>
void run_grid(dim3 grid, dim3 block, const Kernel& kernel) {
  static unsigned launches = 0;
  ++launches;
  gridDim = grid, blockDim = block;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        Block::instance().run(kernel, block.x, launches + x);
      }
    }
  }
}

}  // namespace emulated

inline void __syncthreads() { emulated::Block::instance().barrier(); }

template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), const Args&... args) {
  if (config->blockDim.x == 0 || config->blockDim.x > 1024) return cudaErrorInvalidValue;
  if (config->gridDim.y > 65535 || config->gridDim.z > 65535) return cudaErrorInvalidValue;
  emulated::submit([grid = config->gridDim, block = config->blockDim, kernel, args...] {
    emulated::run_grid(grid, block, [&] { kernel(args...); });
  });
  return cudaSuccess;
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t status) {
  if (status == cudaErrorMemoryAllocation) return "out of memory";
  return status == cudaErrorInvalidValue ? "invalid argument" : "operation not permitted when stream is capturing";
}
inline cudaError_t cudaMalloc(void** block, std::size_t bytes) {
  *block = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*block == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*block, 0xFF, bytes);  // NaN
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* block) {
  std::free(block);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  emulated::submit([=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}
// Between the processor and the device a step must not copy while it is captured.
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  if (kind == cudaMemcpyDeviceToDevice) {
    emulated::submit([=] { std::memcpy(to, from, bytes); });
    return cudaSuccess;
  }
  if (emulated::capturing != nullptr) return cudaErrorStreamCaptureUnsupported;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return emulated::capturing != nullptr ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = emulated::capturing != nullptr ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
inline cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 0, cudaSuccess; }
inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 0, cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  return *value = attribute == cudaDevAttrMultiProcessorCount ? 4 : 1, cudaSuccess;
}
