#include "timing.h"

#include <algorithm>
#include <chrono>

#include "measured.h"
#include "operands.h"

namespace sparsebp {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSample = 200e-6;  // seconds: a thousand times what reading the clock costs
constexpr std::size_t kLeastSamples = 5;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Seconds of one run.
double sample(Case& one, Index runs) {
  const auto start = Clock::now();
  for (Index i = 0; i < runs; ++i) measured(one);
  return seconds_since(start) / static_cast<double>(runs);
}

// Ascending.
std::vector<double> samples(Case& one, double seconds) {
  const auto start = Clock::now();
  sample(one, 1);  // pages and caches
  const auto runs = std::max<Index>(1, static_cast<Index>(kSample / std::max(sample(one, 1), 1e-9)));
  std::vector<double> out;
  do {
    out.push_back(sample(one, runs));
  } while (out.size() < kLeastSamples || seconds_since(start) < seconds);
  std::sort(out.begin(), out.end());
  return out;
}

class PeakCase final : public Case {
 public:
  explicit PeakCase(const Kernels<float>& kernels)
      : kernels_(kernels), a_(kSum), b_(kSum * kPanel), c_(kRows * kPanel) {}

  void run() override {
    GemmArgs<float> args{};
    // Every row of `a` is the same kilobyte: with the panel and the output that is 23 KB.
    args.a = a_.get(), args.a_row = 0;
    args.b = b_.get();
    args.c = c_.get(), args.c_row = kPanel;
    args.rows = kRows, args.cols = kPanel;
    args.sum.n1 = kSum, args.sum.b1 = kPanel;
    args.store = Store::assign;
    kernels_.gemm(args);
  }
  Index multiply_adds() const override { return kRows * kPanel * kSum; }

 private:
  static constexpr Index kRows = 96, kSum = 256;
  const Kernels<float>& kernels_;
  Numbers a_, b_, c_;
};

}  // namespace

Timing time_case(Case& one, double seconds) {
  const std::vector<double> times = samples(one, seconds);
  const std::size_t n = times.size();
  const double median = (times[(n - 1) / 2] + times[n / 2]) / 2;
  return {1e6 * median, (times[n - 1 - n / 4] - times[n / 4]) / median};
}

double peak_rate(const Kernels<float>& kernels) {
  PeakCase one(kernels);
  return static_cast<double>(one.multiply_adds()) / samples(one, 0.3).front();
}

}  // namespace sparsebp
