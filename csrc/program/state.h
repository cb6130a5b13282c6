// Training state that outlives a step: update sets, visited channels, scores, momentum, mean squares, gradient sums.
// All of it lives in the arena, one buffer a kind, so that alignment costs little.
#pragma once

#include <string>
#include <vector>

#include "program/layer.h"

namespace sparsebp {

template <class T>
class TrainingState {
 public:
  void declare(Layout& layout, const ProgramSpec& spec, int end_time);
  // Scratch for the squared gradients of op `op`'s layers, while it runs backward.
  void declare_energy(Layout& layout, const ProgramSpec& spec, int op, int time);
  void acquire(Context<T>& context);

  void begin_energy(Context<T>& context, int op);
  void end_energy(Context<T>& context, int op);
  float* acquire_keys(Context<T>& context, Index count);
  void release_keys(Context<T>& context);

  void mark_visited(Context<T>& context);
  Index visited(const Layer<T>& layer) const;
  void forget_momentum(Context<T>& context, int layer);

 private:
  struct Energy {
    struct Part {
      int layer;
      Index rows, bias, beta;
    };
    int buffer = -1;
    Index count = 0;
    std::vector<Part> layers;
  };
  int indices_ = -1, visited_ = -1, scores_ = -1, momentum_ = -1, sums_ = -1, squares_ = -1, keys_ = -1;
  std::vector<Energy> energy_;
};

}  // namespace sparsebp
