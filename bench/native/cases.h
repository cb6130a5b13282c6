// What is timed: one kernel on one layer, called the way the ops in csrc/program call it while they train.
//
// A block of the network holds a part of its wide tensor at a time, and the same memory serves all parts. So do these
// cases.
#pragma once

#include <memory>
#include <vector>

#include "kernels/table.h"
#include "shapes.h"

namespace sparsebp {

struct Setting {
  const Kernels<float>& kernels;
  LayerShape layer;
  Index batch;
  double ratio;  // of the input channels, those whose weights train
};

// Holds every operand. `run` may be called any number of times and does the same work each time.
class Case {
 public:
  virtual ~Case() = default;
  virtual void run() = 0;
  virtual Index multiply_adds() const = 0;  // of one run; 0: the kernel multiplies nothing
};

struct KernelBench {
  const char* name;
  const char* what;
  bool (*covers)(const LayerShape&);
  std::unique_ptr<Case> (*make)(const Setting&);
};

template <class C>
std::unique_ptr<Case> make_case(const Setting& setting) {
  return std::make_unique<C>(setting);
}

// All of them, in the order in which they are printed; and one list a file.
std::vector<KernelBench> kernel_benches();
std::vector<KernelBench> dense_benches();
std::vector<KernelBench> depthwise_benches();
std::vector<KernelBench> elementwise_benches();

// What of a wide tensor exists at once: in the backward pass the columns of the planner's usual channel block, in the
// forward pass a strip of rows that fits a second-level cache.
constexpr Index kBackwardBlock = 32;
constexpr Index kStripElements = 512 * 1024 / sizeof(float);

// The rows of pixels of a strip, `row` elements each.
constexpr Index strip_rows(Index row) { return row < kStripElements ? kStripElements / row : 1; }

}  // namespace sparsebp
