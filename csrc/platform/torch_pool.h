// torch's own threads, wherever torch is loaded, so that two pools never fight over the cores.
//
// Nothing here links or loads torch: its entry points are looked up among the libraries that the process already has.
// Where SPARSEBP_TORCH_POOL is off, no_torch_pool.cpp stands for it.
#pragma once

#include "platform/thread_pool.h"

namespace sparsebp {

// Null while no torch is loaded whose threads can be used. Cheap: looks again only after another library was loaded.
ThreadPool* torch_pool();

}  // namespace sparsebp
