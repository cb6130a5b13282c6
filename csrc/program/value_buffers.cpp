#include "program/value_buffers.h"

#include <algorithm>

namespace sparsebp {

template <class T>
ValueBuffers<T>::ValueBuffers(const ProgramSpec& spec)
    : end_time_(2 * static_cast<int>(spec.ops.size())), live_(find_liveness(spec)) {
  for (const ValueSpec& value : spec.values) counts_.push_back(value.count());
}

template <class T>
void ValueBuffers<T>::declare(Context<T>& context, const ProgramSpec& spec) {
  const int ops = static_cast<int>(spec.ops.size());
  value_buffer_.assign(spec.values.size(), -1);
  grad_buffer_.assign(spec.values.size(), -1);
  output_ = spec.output, whole_step_ = spec.scope == Scope::step;
  // A stream runs its ops at once: what it reads and what it makes are alive all the while.
  std::vector<int> begins(spec.ops.size()), ends(spec.ops.size());
  for (int i = 0; i < ops; ++i) begins[static_cast<std::size_t>(i)] = ends[static_cast<std::size_t>(i)] = i;
  for (const StreamSpec& stream : spec.streams) {
    std::fill(begins.begin() + stream.first, begins.begin() + stream.last, stream.first);
    std::fill(ends.begin() + stream.first, ends.begin() + stream.last, stream.last - 1);
  }
  for (std::size_t v = 0; v < spec.values.size(); ++v) {
    const int id = static_cast<int>(v);
    if (id == spec.input || (id == spec.output && !whole_step_)) continue;
    const std::string name = "value" + std::to_string(id);
    const std::size_t bytes = byte_count(name, spec.batch * counts_[v], sizeof(T));
    const int made = live_.producer[v], read = live_.consumer[v];
    const int begin = begins[static_cast<std::size_t>(made)];
    if (id == spec.output) {  // until the loss has read it
      value_buffer_[v] =
          context.workspace->layout.add(name, {made, -1, "output"}, Category::activations, bytes, begin, ops);
      continue;
    }
    if (begin != begins[static_cast<std::size_t>(read)]) {
      value_buffer_[v] = context.workspace->layout.add(name, {made, -1, "output"}, Category::activations, bytes, begin,
                                                       ends[static_cast<std::size_t>(read)]);
    }
    if (!needs_grad(id)) continue;
    grad_buffer_[v] = context.training.layout.add(name + ".grad", {made, -1, "output gradient"}, Category::gradients,
                                                  bytes, end_time_ - 1 - read, end_time_ - 1 - made);
  }
}

template <class T>
void ValueBuffers<T>::declare_output_grad(Context<T>& context, const ProgramSpec& spec) {
  const int last = static_cast<int>(spec.ops.size()) - 1, begin = last + 1;  // from the loss to the last op's backward
  const std::size_t bytes = byte_count("loss.grad", spec.batch * counts_[static_cast<std::size_t>(output_)], sizeof(T));
  output_grad_ =
      context.training.layout.add("loss.grad", {last, -1, "output gradient"}, Category::gradients, bytes, begin, begin);
}

template <class T>
void ValueBuffers<T>::order_releases(const Context<T>& context) {
  of_workspace_ = ordered(context.workspace->layout, true);
  of_training_ = ordered(context.training.layout, false);
}

template <class T>
void ValueBuffers<T>::acquire_value(Context<T>& context, int value) const {
  const auto v = static_cast<std::size_t>(value);
  context.values[v] = context.workspace->template acquire<T>(value_buffer_[v], context.images * counts_[v]);
}

template <class T>
void ValueBuffers<T>::acquire_grad(Context<T>& context, int value) const {
  const auto v = static_cast<std::size_t>(value);
  if (grad_buffer_[v] < 0 || context.grads[v] != nullptr) return;
  context.grads[v] = context.training.template acquire<T>(grad_buffer_[v], context.images * counts_[v]);
}

template <class T>
T* ValueBuffers<T>::output_grad(Context<T>& context) const {
  PlannedArena& arena = context.training;
  if (arena.holds(output_grad_)) return arena.at<T>(output_grad_);
  return arena.acquire<T>(output_grad_, context.images * counts_[static_cast<std::size_t>(output_)]);
}

template <class T>
void ValueBuffers<T>::release_values_at(Context<T>& context, int time) const {
  release(*context.workspace, of_workspace_[static_cast<std::size_t>(time)], 0);
}

template <class T>
void ValueBuffers<T>::release_training_at(Context<T>& context, int time, int since) const {
  release(context.training, of_training_[static_cast<std::size_t>(time)], since);
}

template <class T>
void ValueBuffers<T>::release_values(Context<T>& context) const {
  for (const std::vector<int>& buffers : of_workspace_) release(*context.workspace, buffers, 0);
}

template <class T>
void ValueBuffers<T>::release_training(Context<T>& context) const {
  for (const std::vector<int>& buffers : of_training_) release(context.training, buffers, 0);
}

template <class T>
void ValueBuffers<T>::release_output(Context<T>& context) const {
  if (output(context) != nullptr) context.workspace->release(value_buffer_[static_cast<std::size_t>(output_)]);
}

template <class T>
T* ValueBuffers<T>::output(const Context<T>& context) const {
  const int buffer = value_buffer_[static_cast<std::size_t>(output_)];
  return buffer >= 0 && context.workspace->holds(buffer) ? output_place(context) : nullptr;
}

template <class T>
T* ValueBuffers<T>::output_place(const Context<T>& context) const {
  const int buffer = value_buffer_[static_cast<std::size_t>(output_)];
  return buffer < 0 ? nullptr : context.workspace->template at<T>(buffer);
}

template <class T>
typename ValueBuffers<T>::Releases ValueBuffers<T>::ordered(const Layout& layout, bool values) const {
  Releases releases(static_cast<std::size_t>(end_time_));
  for (std::size_t i = 0; i < layout.buffers().size(); ++i) {
    const int end = layout.buffers()[i].end;
    const bool value = of_inference(layout.buffers()[i].category) && 2 * end < end_time_;
    if (value == values && end >= 0 && end < end_time_)
      releases[static_cast<std::size_t>(end)].push_back(static_cast<int>(i));
  }
  return releases;
}

template <class T>
void ValueBuffers<T>::release(PlannedArena& arena, const std::vector<int>& buffers, int since) {
  for (int buffer : buffers) {
    if (arena.holds(buffer) && arena.layout[buffer].begin >= since) arena.release(buffer);
  }
}

template class ValueBuffers<float>;
template class ValueBuffers<double>;

}  // namespace sparsebp
