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
  int processors = 1;     // of the device
  bool overlaps = false;  // may a kernel be started while the one before it still runs?
};

// The first thing that a kernel does: it lets the next kernel be started, and waits until what was started before is
// done and seen. So starting takes no time between the two.
#if defined(__CUDACC__)
__device__ inline void await_inputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
#endif
}
#else
inline void await_inputs() {}
#endif

// Starts a kernel, whose only argument is a struct.
template <class Args>
void launch(const Queue& queue, void (*kernel)(Args), dim3 grid, int threads, const Args& args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = queue.stream;
#if defined(__CUDACC__)
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  if (queue.overlaps) config.attrs = &overlap, config.numAttrs = 1;
#endif
  check(cudaLaunchKernelEx(&config, kernel, args), queue.stage);
}

constexpr unsigned blocks(Index count, Index each) { return static_cast<unsigned>((count + each - 1) / each); }

}  // namespace sparsebp::cuda
