#include "isa/tables.h"
#include "isa/vec_neon.h"
#include "kernels/make_table.h"

namespace sparsebp {
const Kernels<float> kNeonF32 = make_table<Neon>();
}  // namespace sparsebp
