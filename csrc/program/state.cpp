#include "program/state.h"

#include <algorithm>
#include <cmath>

namespace sparsebp {
namespace {

constexpr float kScoreDecay = 0.9f;  // of the running gradient norm, per visit

bool sampled(const LayerSpec& layer) { return layer.selected > 0 && layer.selected < layer.shape.in; }
Index visited_bytes(const LayerSpec& layer) { return (layer.shape.in + 7) / 8; }

// Elements of momentum or of gradient sums: the selected rows, then bias and shift.
Index row_count(const LayerSpec& layer) { return layer.selected * layer.shape.weights_per_channel(); }
Index state_count(const LayerSpec& layer) {
  Index count = row_count(layer);
  if (layer.trains_bias()) count += layer.shape.out * ((layer.has_bias ? 1 : 0) + (layer.has_norm ? 1 : 0));
  return count;
}

template <class F>
Index total(const ProgramSpec& spec, F count) {
  Index sum = 0;
  for (const LayerSpec& layer : spec.layers) sum += count(layer);
  return sum;
}

}  // namespace

template <class T>
void TrainingState<T>::declare(Layout& layout, const ProgramSpec& spec, int end_time) {
  energy_.assign(spec.ops.size(), {});
  const auto add = [&](const char* name, Category category, Index count, std::size_t size, int end) {
    return count == 0 ? -1 : layout.add(name, category, static_cast<std::size_t>(count) * size, -1, end);
  };
  const auto per_sampled = [&](auto count) {
    return total(spec, [&](const LayerSpec& layer) { return sampled(layer) ? count(layer) : 0; });
  };
  indices_ = add("indices", Category::sampler, per_sampled([](const LayerSpec& l) { return l.selected; }),
                 sizeof(std::int32_t), end_time);
  visited_ = add("visited", Category::sampler, per_sampled(visited_bytes), 1, end_time);
  if (spec.scores) {
    scores_ = add("scores", Category::sampler, per_sampled([](const LayerSpec& l) { return l.shape.in; }),
                  sizeof(float), end_time);
    Index most = 0;
    for (const LayerSpec& layer : spec.layers) most = std::max(most, sampled(layer) ? layer.selected : 0);
    keys_ = add("keys", Category::scratch, most, sizeof(float), -1);
  }
  if (spec.momentum) momentum_ = add("momentum", Category::optimizer, total(spec, state_count), sizeof(T), end_time);
  if (spec.sums) sums_ = add("sums", Category::weight_gradients, total(spec, state_count), sizeof(T), end_time);
}

template <class T>
void TrainingState<T>::declare_energy(Layout& layout, const ProgramSpec& spec, int op, int time) {
  if (!spec.scores || op < spec.span_begin) return;
  Energy& energy = energy_[static_cast<std::size_t>(op)];
  for (int index : spec.ops[static_cast<std::size_t>(op)].layers) {
    const LayerSpec& layer = spec.layers[static_cast<std::size_t>(index)];
    if (!sampled(layer)) continue;
    energy.layers.push_back(index);
    energy.count += layer.selected;
  }
  if (energy.count == 0) return;
  energy.buffer = layout.add("energy" + std::to_string(op), Category::scratch,
                             static_cast<std::size_t>(energy.count) * sizeof(float), time, time);
}

template <class T>
void TrainingState<T>::acquire(Context<T>& context) {
  PlannedArena& arena = context.training;
  const auto take = [&](int buffer, auto* type) {
    using U = std::remove_pointer_t<decltype(type)>;
    if (buffer < 0) return static_cast<U*>(nullptr);
    const Index count = static_cast<Index>(arena.layout[buffer].bytes / sizeof(U));
    U* data = arena.acquire<U>(buffer, count);
    std::fill_n(data, count, U(0));
    return data;
  };
  auto* indices = take(indices_, static_cast<std::int32_t*>(nullptr));
  auto* visited = take(visited_, static_cast<std::uint8_t*>(nullptr));
  auto* scores = take(scores_, static_cast<float*>(nullptr));
  T* momentum = take(momentum_, static_cast<T*>(nullptr));
  T* sums = take(sums_, static_cast<T*>(nullptr));
  for (Layer<T>& layer : context.layers) {
    const LayerSpec& l = layer.spec;
    LayerState<T>& state = layer.state;
    if (sampled(l)) {
      state.indices = indices, indices += l.selected;
      for (Index j = 0; j < l.selected; ++j) state.indices[j] = static_cast<std::int32_t>(j);
      state.visited = visited, visited += visited_bytes(l);
      if (scores != nullptr) {
        state.scores = scores, scores += l.shape.in;
        std::fill_n(state.scores, l.shape.in, -1.0f);
      }
    }
    const auto split = [&](T*& pool, T*& rows, T*& bias, T*& beta) {
      if (pool == nullptr) return;
      T* next = pool;
      if (l.selected > 0) rows = next, next += row_count(l);
      if (l.trains_bias() && l.has_bias) bias = next, next += l.shape.out;
      if (l.trains_bias() && l.has_norm) beta = next, next += l.shape.out;
      pool = next;
    };
    split(momentum, state.momentum, state.bias_momentum, state.beta_momentum);
    split(sums, state.sum, state.bias_sum, state.beta_sum);
  }
}

template <class T>
void TrainingState<T>::begin_energy(Context<T>& context, int op) {
  const Energy& energy = energy_[static_cast<std::size_t>(op)];
  if (energy.buffer < 0) return;
  float* data = context.training.template acquire<float>(energy.buffer, energy.count);
  std::fill_n(data, energy.count, 0.0f);
  for (int index : energy.layers) {
    Layer<T>& layer = context.layers[static_cast<std::size_t>(index)];
    layer.energy = data;
    data += layer.spec.selected;
  }
}

template <class T>
void TrainingState<T>::end_energy(Context<T>& context, int op) {
  for (int index : energy_[static_cast<std::size_t>(op)].layers) {
    Layer<T>& layer = context.layers[static_cast<std::size_t>(index)];
    for (Index j = 0; j < layer.spec.selected; ++j) {
      float& score = layer.state.scores[layer.channel(j)];
      const float norm = std::sqrt(layer.energy[j]);
      score = score < 0 ? norm : kScoreDecay * score + (1 - kScoreDecay) * norm;
    }
    layer.energy = nullptr;
  }
}

template <class T>
float* TrainingState<T>::acquire_keys(Context<T>& context, Index count) {
  return context.training.template acquire<float>(keys_, count);
}

template <class T>
void TrainingState<T>::release_keys(Context<T>& context) {
  context.training.release(keys_);
}

template <class T>
void TrainingState<T>::mark_visited(Context<T>& context) {
  for (Layer<T>& layer : context.layers) {
    if (layer.state.visited == nullptr || !(layer.sgd.weight_on || layer.state.sum != nullptr)) continue;
    for (Index j = 0; j < layer.spec.selected; ++j) {
      const Index c = layer.channel(j);
      layer.state.visited[c / 8] = static_cast<std::uint8_t>(layer.state.visited[c / 8] | 1u << (c % 8));
    }
  }
}

template <class T>
Index TrainingState<T>::visited(const Layer<T>& layer) const {
  if (layer.state.visited == nullptr) return layer.spec.selected;
  Index count = 0;
  for (Index i = 0; i < visited_bytes(layer.spec); ++i) count += __builtin_popcount(layer.state.visited[i]);
  return count;
}

template <class T>
void TrainingState<T>::forget_momentum(Context<T>& context, int index) {
  Layer<T>& layer = context.layers[static_cast<std::size_t>(index)];
  if (layer.state.momentum != nullptr) std::fill_n(layer.state.momentum, row_count(layer.spec), T(0));
}

template class TrainingState<float>;
template class TrainingState<double>;

}  // namespace sparsebp
