#include "program/training_state.h"

#include <algorithm>
#include <cstring>

#include "core/checked.h"
#include "core/random.h"
#include "spec/validate.h"

namespace sparsebp {
namespace {

Index visited_bytes(const LayerSpec& layer) { return (layer.shape.in + 7) / 8; }

// Elements of momentum or of gradient sums: the selected rows, then bias and shift.
Index row_count(const LayerSpec& layer) { return layer.selected * layer.shape.weights_per_channel(); }
Index state_count(const LayerSpec& layer) {
  Index count = row_count(layer);
  if (layer.trains_bias()) count += layer.shape.out * ((layer.has_bias ? 1 : 0) + (layer.has_norm ? 1 : 0));
  return count;
}

// Weight, bias and shift count one each.
Index trained_parameters(const LayerSpec& layer) {
  return (layer.trains_weight() ? 1 : 0) +
         (layer.trains_bias() ? (layer.has_bias ? 1 : 0) + (layer.has_norm ? 1 : 0) : 0);
}

template <class F>
Checked total(const ProgramSpec& spec, F count) {
  Checked sum(0);
  for (const LayerSpec& layer : spec.layers) sum = sum + count(layer);
  return sum;
}

}  // namespace

template <class T>
void TrainingState<T>::declare(Layout& layout, const ProgramSpec& spec, int end_time) {
  end_time_ = end_time;
  const auto add = [&](const char* name, Category category, Checked count, std::size_t size, int end) {
    const std::size_t bytes = byte_count(name, count, size);
    return bytes == 0 ? -1 : layout.add(name, {-1, -1, name}, category, bytes, -1, end);
  };
  const auto per_sampled = [&](auto count) {
    return total(spec, [&](const LayerSpec& layer) { return layer.sampled() ? count(layer) : 0; });
  };
  indices_ = add("indices", Category::sampler, per_sampled([](const LayerSpec& l) { return l.selected; }),
                 sizeof(std::int32_t), end_time);
  visited_ = add("visited", Category::sampler, per_sampled(visited_bytes), 1, end_time);
  if (spec.scores) {
    scores_ = add("scores", Category::sampler, per_sampled([](const LayerSpec& l) { return l.shape.in; }),
                  sizeof(float), end_time);
    Index most = 0;
    for (const LayerSpec& layer : spec.layers) most = std::max(most, layer.sampled() ? layer.selected : 0);
    keys_ = add("keys", Category::scratch, most, sizeof(float), -1);
  }
  if (spec.momentum) momentum_ = add("momentum", Category::optimizer, total(spec, state_count), sizeof(T), end_time);
  if (spec.normalise) {
    squares_ = add("mean squares", Category::optimizer, total(spec, trained_parameters), sizeof(MeanSquare), end_time);
  }
  if (spec.sums) sums_ = add("sums", Category::weight_gradients, total(spec, state_count), sizeof(T), end_time);
}

template <class T>
void TrainingState<T>::acquire(Context<T>& context) {
  PlannedArena& arena = context.training;
  Memory& memory = arena.arena->memory();
  remote_ = !memory.local();
  const auto take = [&](int buffer, auto* type) {
    using U = std::remove_pointer_t<decltype(type)>;
    if (buffer < 0) return static_cast<U*>(nullptr);
    const std::size_t bytes = arena.layout[buffer].bytes;
    U* data = arena.acquire<U>(buffer, static_cast<Index>(bytes / sizeof(U)));
    memory.fill(data, 0, bytes);
    return data;
  };
  auto* arena_indices = take(indices_, static_cast<std::int32_t*>(nullptr));
  auto* indices = arena_indices;
  auto* visited = take(visited_, static_cast<std::uint8_t*>(nullptr));
  if (remote_ && indices_ >= 0) {
    local_indices_.assign(arena.layout[indices_].bytes / sizeof(std::int32_t), 0);
    local_visited_.assign(arena.layout[visited_].bytes, 0);
    indices = local_indices_.data(), visited = local_visited_.data();
  }
  auto* scores = take(scores_, static_cast<float*>(nullptr));
  T* momentum = take(momentum_, static_cast<T*>(nullptr));
  T* sums = take(sums_, static_cast<T*>(nullptr));
  MeanSquare* squares = take(squares_, static_cast<MeanSquare*>(nullptr));
  for (Layer<T>& layer : context.layers) {
    const LayerSpec& l = layer.spec;
    LayerState<T>& state = layer.state;
    if (l.sampled()) {
      state.indices = indices, indices += l.selected;
      state.arena_indices = arena_indices, arena_indices += l.selected;
      for (Index j = 0; j < l.selected; ++j) state.indices[j] = static_cast<std::int32_t>(j);
      state.visited = visited, visited += visited_bytes(l);
      if (scores != nullptr) {
        state.scores = scores, scores += l.shape.in;
        const std::vector<float> never(static_cast<std::size_t>(l.shape.in), -1.0f);
        memory.write(state.scores, never.data(), never.size() * sizeof(float));
        if (remote_ && local_scores_.size() < never.size()) local_scores_ = never;
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
    if (squares != nullptr) {
      if (l.trains_weight()) state.square = squares++;
      if (l.trains_bias() && l.has_bias) state.bias_square = squares++;
      if (l.trains_bias() && l.has_norm) state.beta_square = squares++;
    }
  }
  local_keys_.assign(local_scores_.size(), 0);
  publish_all(context);
}

template <class T>
typename TrainingState<T>::Scored TrainingState<T>::begin_draw(Context<T>& context, int index) {
  const Layer<T>& layer = context.layers[static_cast<std::size_t>(index)];
  float* keys = context.training.template acquire<float>(keys_, layer.spec.selected);
  if (!remote_) return {layer.state.scores, keys};
  context.training.arena->memory().read(local_scores_.data(), layer.state.scores,
                                        static_cast<std::size_t>(layer.spec.shape.in) * sizeof(float));
  return {local_scores_.data(), local_keys_.data()};
}

template <class T>
void TrainingState<T>::draw(Context<T>& context, int index, Draw method, std::uint64_t seed, std::uint64_t turn) {
  Layer<T>& layer = context.layers[static_cast<std::size_t>(index)];
  const int channels = static_cast<int>(layer.spec.shape.in), k = static_cast<int>(layer.spec.selected);
  const auto stream = static_cast<std::uint64_t>(index);
  const std::uint64_t key = random_key(seed, stream, turn);
  switch (method) {
    case Draw::uniform:
      draw_uniform(key, channels, k, layer.state.indices);
      break;
    case Draw::cyclic:
      draw_cyclic(seed, stream, turn, channels, k, layer.state.indices);
      break;
    case Draw::weighted:
    case Draw::largest: {
      const auto scored = method == Draw::weighted ? draw_weighted : draw_largest;
      const Scored memory = begin_draw(context, index);
      scored(key, memory.scores, channels, k, layer.state.indices, memory.keys);
      context.training.release(keys_);
    }
  }
  forget_momentum(context, index);
}

template <class T>
void TrainingState<T>::publish(Context<T>& context, int index) const {
  if (!remote_) return;
  const Layer<T>& layer = context.layers[static_cast<std::size_t>(index)];
  context.training.arena->memory().write(layer.state.arena_indices, layer.state.indices,
                                         static_cast<std::size_t>(layer.spec.selected) * sizeof(std::int32_t));
}

template <class T>
void TrainingState<T>::publish_all(Context<T>& context) const {
  if (!remote_ || indices_ < 0) return;
  context.training.arena->memory().write(context.training.template at<std::int32_t>(indices_), local_indices_.data(),
                                         local_indices_.size() * sizeof(std::int32_t));
}

template <class T>
std::vector<Region> TrainingState<T>::regions(const Layout& layout) const {
  std::vector<Region> regions;
  for (const Buffer& buffer : layout.buffers()) {
    if (buffer.begin < 0 && buffer.end == end_time_) regions.push_back({buffer.name, buffer.offset, buffer.bytes});
  }
  return regions;
}

template <class T>
Region TrainingState<T>::sum_region(const Context<T>& context, int index, const std::string& parameter) const {
  const Layer<T>& layer = context.layers[static_cast<std::size_t>(index)];
  const LayerState<T>& state = layer.state;
  const T* data = parameter == "weight" ? state.sum : parameter == "bias" ? state.bias_sum : state.beta_sum;
  if (data == nullptr) return {parameter, 0, 0};
  const Index count = parameter == "weight" ? layer.sum_count() : layer.spec.shape.out;
  const auto offset = reinterpret_cast<const std::byte*>(data) - context.training.arena->data();
  return {parameter, static_cast<std::size_t>(offset), static_cast<std::size_t>(count) * sizeof(T)};
}

template <class T>
void TrainingState<T>::read(Context<T>& context, std::size_t offset, std::size_t bytes, void* out) const {
  if (remote_ && visited_ >= 0 && offset == context.training.layout[visited_].offset) {
    std::memcpy(out, local_visited_.data(), bytes);
    return;
  }
  context.training.arena->memory().read(out, context.training.arena->data() + offset, bytes);
}

// Numbers that are no channels would lead kernels elsewhere.
template <class T>
void TrainingState<T>::check_update_sets(const Context<T>& context, const void* in) const {
  const auto* next = static_cast<const std::byte*>(in);
  for (const Layer<T>& layer : context.layers) {
    if (!layer.spec.sampled()) continue;
    std::vector<std::int32_t> channels(static_cast<std::size_t>(layer.spec.selected));
    std::memcpy(channels.data(), next, channels.size() * sizeof(std::int32_t));
    next += channels.size() * sizeof(std::int32_t);
    check_channels(layer.spec, channels);
  }
}

template <class T>
void TrainingState<T>::write(Context<T>& context, std::size_t offset, std::size_t bytes, const void* in) {
  const Layout& layout = context.training.layout;
  if (indices_ >= 0 && offset == layout[indices_].offset) check_update_sets(context, in);
  context.training.arena->memory().write(context.training.arena->data() + offset, in, bytes);
  if (!remote_ || indices_ < 0) return;
  if (offset == layout[indices_].offset) std::memcpy(local_indices_.data(), in, bytes);
  if (offset == layout[visited_].offset) std::memcpy(local_visited_.data(), in, bytes);
}

template <class T>
void TrainingState<T>::mark_visited(Context<T>& context) {
  for (Layer<T>& layer : context.layers) {
    if (layer.state.visited == nullptr || !layer.wants_weight_grad()) continue;
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
  if (layer.state.momentum == nullptr) return;
  context.training.arena->memory().fill(layer.state.momentum, 0,
                                        static_cast<std::size_t>(row_count(layer.spec)) * sizeof(T));
}

template class TrainingState<float>;
template class TrainingState<double>;

}  // namespace sparsebp
