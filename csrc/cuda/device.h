// A GPU as a program's device: float32, one stream at a time.
#pragma once

#include <memory>
#include <string>

#include "program/device.h"

namespace sparsebp::cuda {

// The compiler's version and the GPUs it compiled for; empty without CUDA.
const char* build();

// How many GPUs there are; with none, `why` says why.
int device_count(std::string* why = nullptr);

// Throws InvalidArgument or DeviceError.
std::unique_ptr<Device<float>> make_device(int index);

}  // namespace sparsebp::cuda
