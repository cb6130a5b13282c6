#include "isa/tables.h"
#include "isa/vec_scalar.h"
#include "kernels/make_table.h"

namespace sparsebp {
const Kernels<float> kScalarF32 = make_table<Plain<float>>();
const Kernels<double> kScalarF64 = make_table<Plain<double>>();
}  // namespace sparsebp
