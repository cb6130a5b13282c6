// Marks functions that CUDA kernels call too.
#pragma once

#if defined(__CUDACC__)
#define SPARSEBP_ANYWHERE __host__ __device__
#else
#define SPARSEBP_ANYWHERE
#endif
