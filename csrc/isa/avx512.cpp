#include "isa/tables.h"
#include "isa/vec_avx512.h"
#include "kernels/make_table.h"

namespace sparsebp {
const Kernels<float> kAvx512F32 = make_table<Avx512>();
}  // namespace sparsebp
