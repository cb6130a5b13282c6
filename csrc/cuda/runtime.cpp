#include "cuda/runtime.h"

namespace sparsebp::cuda {

void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // what can be forgotten is; a lost context reports itself again
  const std::string message = what + ": CUDA: " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfDeviceMemory(message);
  throw DeviceError(message);
}

}  // namespace sparsebp::cuda
