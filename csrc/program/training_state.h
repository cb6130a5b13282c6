// Training state that outlives a step: update sets, visited channels, scores, momentum, mean squares, gradient sums.
// All of it lives in the arena, one buffer a kind, so that alignment costs little. Where the arena is not in this
// process's memory, update sets and visited channels, which are drawn and counted here, are kept here as well.
#pragma once

#include <string>
#include <vector>

#include "core/draw.h"
#include "program/device.h"

namespace sparsebp {

// Bytes of the arena.
struct Region {
  std::string name;
  std::size_t offset, bytes;
};

template <class T>
class TrainingState {
 public:
  void declare(Layout& layout, const ProgramSpec& spec, int end_time);
  void acquire(Context<T>& context);

  // Draws layer `layer`'s update set; `publish` follows.
  void draw(Context<T>& context, int layer, Draw method, std::uint64_t seed, std::uint64_t turn);
  // Layer `layer`'s update set has changed, or that of every layer: the arena must have it.
  void publish(Context<T>& context, int layer) const;
  void publish_all(Context<T>& context) const;

  // The buffers that outlive a step, in the layout's order.
  std::vector<Region> regions(const Layout& layout) const;
  // A layer's gradient sums of "weight", "bias" or "beta".
  Region sum_region(const Context<T>& context, int layer, const std::string& parameter) const;

  // The bytes of a persistent region. Throws InvalidArgument for what is no update set.
  void read(Context<T>& context, std::size_t offset, std::size_t bytes, void* out) const;
  void write(Context<T>& context, std::size_t offset, std::size_t bytes, const void* in);

  void mark_visited(Context<T>& context);
  Index visited(const Layer<T>& layer) const;
  void forget_momentum(Context<T>& context, int layer);

 private:
  // What drawing a layer's channels by their scores needs, in this process's memory.
  struct Scored {
    const float* scores;  // [in]
    float* keys;          // [selected], scratch
  };
  Scored begin_draw(Context<T>& context, int layer);
  void check_update_sets(const Context<T>& context, const void* in) const;

  int end_time_ = 0;  // until when persistent buffers live
  int indices_ = -1, visited_ = -1, scores_ = -1, momentum_ = -1, sums_ = -1, squares_ = -1, keys_ = -1;
  bool remote_ = false;  // is the arena elsewhere
  std::vector<std::int32_t> local_indices_;
  std::vector<std::uint8_t> local_visited_;
  std::vector<float> local_scores_, local_keys_;  // of the layer being drawn
};

}  // namespace sparsebp
