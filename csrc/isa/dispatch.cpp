#include "isa/dispatch.h"

#include <cstdlib>

#include "core/error.h"
#include "isa/tables.h"

#if defined(SPARSEBP_HAVE_NEON) && !defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace sparsebp {
namespace {

bool always() { return true; }

#if defined(SPARSEBP_HAVE_AVX2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#if defined(SPARSEBP_HAVE_NEON) && defined(__aarch64__)
bool has_neon() { return true; }
#elif defined(SPARSEBP_HAVE_NEON)
// Early ARMv7 processors (Cortex-A8 and A9, Tegra 2) lack one or the other.
bool has_neon() {
  constexpr unsigned long kNeeded = HWCAP_ARM_NEON | HWCAP_ARM_VFPv4;
  return (getauxval(AT_HWCAP) & kNeeded) == kNeeded;
}
#endif
#if defined(SPARSEBP_HAVE_AVX512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
#endif

}  // namespace

const std::vector<Isa>& built_isas() {
  static const std::vector<Isa> isas = {
#if defined(SPARSEBP_HAVE_AVX512)
    {"avx512", &has_avx512, &kAvx512F32},
#endif
#if defined(SPARSEBP_HAVE_AVX2)
    {"avx2", &has_avx2, &kAvx2F32},
#endif
#if defined(SPARSEBP_HAVE_NEON)
    {"neon", &has_neon, &kNeonF32},
#endif
    {"scalar", &always, &kScalarF32},
  };
  return isas;
}

std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : built_isas()) {
    if (isa.supported()) names.emplace_back(isa.name);
  }
  return names;
}

const Isa& choose_isa(const std::string& name) {
  std::string wanted = name;
  if (wanted.empty()) {
    const char* variable = std::getenv("SPARSEBP_ISA");
    if (variable != nullptr) wanted = variable;
  }
  for (const Isa& isa : built_isas()) {
    if (isa.supported() && (wanted.empty() || wanted == isa.name)) return isa;
  }
  std::string usable;
  for (const std::string& isa : usable_isas()) usable += (usable.empty() ? "" : ", ") + isa;
  throw InvalidArgument("SPARSEBP_ISA: '" + wanted + "' is not available; this build on this processor has: " + usable);
}

template <>
const Kernels<float>& kernels_of<float>(const Isa& isa) {
  return *isa.float32;
}

// float64 exists to check the method, not for speed: one portable table.
template <>
const Kernels<double>& kernels_of<double>(const Isa&) {
  return kScalarF64;
}

}  // namespace sparsebp
