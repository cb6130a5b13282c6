// The CUDA runtime behind checked calls.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "core/error.h"
#include "core/shape.h"

// Before a loop whose arrays are to stay in registers; and before one of which a few turns are to be under way at once.
#if defined(__CUDACC__)
#define SPARSEBP_UNROLL _Pragma("unroll")
#define SPARSEBP_UNROLL_SOME _Pragma("unroll 4")
#else
#define SPARSEBP_UNROLL
#define SPARSEBP_UNROLL_SOME
#endif

namespace sparsebp::cuda {

// Throws OutOfDeviceMemory or DeviceError, which say what was going on.
void check(cudaError_t status, const std::string& what);

// Where work is started, and what is going on there, for errors.
struct Queue {
  cudaStream_t stream = nullptr;
  const char* stage = "";
  int processors = 1;  // of the device
};

// Starts a kernel, whose only argument is a struct.
template <class Args>
void launch(const Queue& queue, void (*kernel)(Args), dim3 grid, int threads, const Args& args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = queue.stream;
  check(cudaLaunchKernelEx(&config, kernel, args), queue.stage);
}

constexpr unsigned blocks(Index count, Index each) { return static_cast<unsigned>((count + each - 1) / each); }

}  // namespace sparsebp::cuda
