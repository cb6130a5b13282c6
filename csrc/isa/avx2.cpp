#include "isa/tables.h"
#include "isa/vec_avx2.h"
#include "kernels/make_table.h"

namespace sparsebp {
const Kernels<float> kAvx2F32 = make_table<Avx2>();
}  // namespace sparsebp
