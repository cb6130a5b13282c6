// The tables that the files of this folder define. Which of them exist is CMake's choice (cmake/isa.cmake).
#pragma once

#include "kernels/table.h"

namespace sparsebp {
extern const Kernels<float> kScalarF32;
extern const Kernels<double> kScalarF64;
extern const Kernels<float> kAvx2F32;
extern const Kernels<float> kAvx512F32;
extern const Kernels<float> kNeonF32;
}  // namespace sparsebp
