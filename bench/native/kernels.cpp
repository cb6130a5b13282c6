// Times single kernels on the layers of MobileNetV2: kernels --help
#include <cstdio>
#include <exception>

#include "cases.h"
#include "core/error.h"
#include "isa/dispatch.h"
#include "measured.h"
#include "options.h"
#include "platform/parallel.h"
#include "timing.h"

namespace sparsebp {
namespace {

struct Pair {
  KernelBench kernel;
  LayerShape layer;
};

const Isa& find_isa(const std::string& name) {
  const std::vector<std::string> usable = usable_isas();
  std::string list;
  for (const std::string& isa : usable) {
    if (name == isa) return choose_isa(name);
    list += (list.empty() ? "" : ", ") + isa;
  }
  if (name.empty()) return choose_isa(usable.front());
  throw InvalidArgument("--isa: expected one of " + list + ", got '" + name + "'");
}

std::vector<Pair> find_pairs(const Options& options) {
  const std::vector<LayerShape> layers = read_shapes(options.shapes, options.size, options.layers);
  std::vector<Pair> out;
  std::string names;
  bool known = false;
  for (const KernelBench& kernel : kernel_benches()) {
    names += (names.empty() ? "" : ", ") + std::string(kernel.name);
    if (!matches(kernel.name, options.kernel)) continue;
    known = true;
    for (const LayerShape& layer : layers) {
      if (kernel.covers(layer)) out.push_back({kernel, layer});
    }
  }
  if (!known) throw InvalidArgument("--kernel: expected one of " + names + ", got '" + options.kernel + "'");
  if (out.empty()) {
    throw InvalidArgument("--layers: no layer that matches '" + options.layers + "' has kernel '" + options.kernel +
                          "'");
  }
  return out;
}

void print_count(const Options& options, const Pair& pair, Index multiply_adds) {
  const char* format = options.csv ? "%s,%s,%lld\n" : "%-22s %-20s %15lld\n";
  std::printf(format, pair.kernel.name, pair.layer.name.c_str(), static_cast<long long>(multiply_adds));
}

// `peak` is in multiply-adds a second. A kernel that multiplies nothing has no rate.
void print_timing(const Options& options, const Pair& pair, const Timing& timing, double multiply_adds, double peak) {
  const double rate = multiply_adds / (timing.microseconds * 1e-6);
  const ConvShape& s = pair.layer.conv;
  const char* name = pair.layer.name.c_str();
  if (options.csv) {
    std::printf("%s,%s,%d,%d,%d,%d,%d,%d,%d,%.3f,%.4f,", pair.kernel.name, name, pair.layer.count,
                static_cast<int>(s.in), static_cast<int>(s.out), static_cast<int>(s.kernel_h),
                static_cast<int>(s.stride_h), static_cast<int>(s.height), static_cast<int>(s.width),
                timing.microseconds, timing.spread);
    if (multiply_adds > 0) {
      std::printf("%.2f,%.4f\n", 2e-9 * rate, rate / peak);
    } else {
      std::printf(",\n");
    }
    return;
  }
  std::printf("%-22s %-20s %-27s %2d %10.2f %6.1f%%", pair.kernel.name, name, describe(s).c_str(), pair.layer.count,
              timing.microseconds, 100 * timing.spread);
  if (multiply_adds > 0) std::printf(" %8.1f %5.0f%%", 2e-9 * rate, 100 * rate / peak);
  std::printf("\n");
}

void run(const Options& options) {
  const Isa& isa = find_isa(options.isa);
  const Kernels<float>& kernels = kernels_of<float>(isa);
  const std::vector<Pair> pairs = find_pairs(options);
  thread_count();  // looks for torch's pool: once, and not while something is counted
  const double peak = options.count ? 0 : peak_rate(kernels);
  if (options.csv) {
    std::puts(options.count ? "kernel,layer,multiply_adds"
                            : "kernel,layer,n,in,out,kernel_size,stride,height,width,microseconds,spread,gflops,share");
  } else if (options.count) {
    std::printf("%-22s %-20s %15s\n", "kernel", "layer", "multiply-adds");
  } else {
    std::printf("%s, one thread, %d px, batch %d; peak %.1f GFLOP/s: gemm 96x16x256 in the first-level cache\n\n",
                isa.name, static_cast<int>(options.size), static_cast<int>(options.batch), 2e-9 * peak);
    std::printf("%-22s %-20s %-27s %2s %10s %7s %8s %6s\n", "kernel", "layer", "shape", "n", "us", "spread", "GFLOP/s",
                "peak");
  }
  for (const Pair& pair : pairs) {
    const std::unique_ptr<Case> one = pair.kernel.make({kernels, pair.layer, options.batch, options.ratio});
    if (options.count) {
      measured(*one);
      print_count(options, pair, one->multiply_adds());
    } else {
      print_timing(options, pair, time_case(*one, options.seconds), static_cast<double>(one->multiply_adds()), peak);
    }
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace sparsebp

int main(int argc, char** argv) {
  try {
    const sparsebp::Options options = sparsebp::parse_options(argc, argv);
    if (options.help) {
      std::fputs(sparsebp::usage().c_str(), stdout);
    } else {
      sparsebp::run(options);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernels: %s\n", error.what());
    return 2;
  }
}
