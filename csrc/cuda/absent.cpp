// What cuda/device.h declares, in a build without CUDA.
#include "core/error.h"
#include "cuda/device.h"

namespace sparsebp::cuda {

const char* build() { return ""; }

int device_count(std::string* why) {
  if (why != nullptr) *why = "this build of sparsebp has no CUDA";
  return 0;
}

std::unique_ptr<Device<float>> make_device(int) { throw InvalidArgument("device: this build of sparsebp has no CUDA"); }

}  // namespace sparsebp::cuda
