// Bytes of an arena that nobody holds, out of bounds for AddressSanitizer: in builds that ask for it, as the fuzzer's.
#pragma once

#include <cstddef>

#if defined(SPARSEBP_POISON)
#include <sanitizer/asan_interface.h>
#endif

namespace sparsebp {

#if defined(SPARSEBP_POISON)
inline void poison(const void* data, std::size_t bytes) { __asan_poison_memory_region(data, bytes); }
inline void unpoison(const void* data, std::size_t bytes) { __asan_unpoison_memory_region(data, bytes); }
#else
inline void poison(const void*, std::size_t) {}
inline void unpoison(const void*, std::size_t) {}
#endif

}  // namespace sparsebp
