// Squared gradient norms of an op's layers, added up in the arena while the op runs backward: what scores and mean
// squares are made of.
#pragma once

#include <vector>

#include "program/device.h"

namespace sparsebp {

template <class T>
class SquaredNormBuffers {
 public:
  // Of op `op`, which runs backward at `time`.
  void declare(Layout& layout, const ProgramSpec& spec, int op, int time);

  // Around the op's backward pass: gives its layers their sums; brings their scores and mean squares up to date.
  void begin(Context<T>& context, int op) const;
  void end(Context<T>& context, int op, Device<T>& device) const;

 private:
  struct Part {
    int layer;
    Index rows, bias, beta;  // sums
  };
  struct OfOp {
    int buffer = -1;
    Index count = 0;
    std::vector<Part> layers;
  };
  std::vector<OfOp> ops_;
};

}  // namespace sparsebp
