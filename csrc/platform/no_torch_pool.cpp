// For builds that never meet torch: the C library.
#include "platform/torch_pool.h"

namespace sparsebp {

ThreadPool* torch_pool() { return nullptr; }

}  // namespace sparsebp
