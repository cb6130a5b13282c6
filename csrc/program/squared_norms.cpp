#include "program/squared_norms.h"

#include "core/checked.h"

namespace sparsebp {

template <class T>
void SquaredNormBuffers<T>::declare(Layout& layout, const ProgramSpec& spec, int op, int time) {
  ops_.resize(spec.ops.size());
  if (op < spec.span_begin) return;
  OfOp& own = ops_[static_cast<std::size_t>(op)];
  // Gradient sums are squared when they are applied.
  const bool squares = spec.normalise && !spec.sums;
  for (int index : spec.ops[static_cast<std::size_t>(op)].layers) {
    const LayerSpec& layer = spec.layers[static_cast<std::size_t>(index)];
    const Index rows = squares || (spec.scores && layer.sampled()) ? layer.selected : 0;
    const Index panels = squares && layer.trains_bias() ? div_up(layer.shape.out, kPanel) : 0;
    const Part part{index, rows, layer.has_bias ? panels : 0, layer.has_norm ? panels : 0};
    const Index count = part.rows + part.bias + part.beta;
    if (count == 0) continue;
    own.layers.push_back(part);
    own.count += count;
  }
  if (own.count == 0) return;
  const std::string name = "op" + std::to_string(op) + ".squared norms";
  own.buffer = layout.add(name, {op, -1, "squared norms"}, Category::scratch,
                          byte_count(name, own.count, sizeof(float)), time, time);
}

template <class T>
void SquaredNormBuffers<T>::begin(Context<T>& context, int op) const {
  const OfOp& own = ops_[static_cast<std::size_t>(op)];
  if (own.buffer < 0) return;
  float* data = context.training.template acquire<float>(own.buffer, own.count);
  context.training.arena->memory().fill(data, 0, static_cast<std::size_t>(own.count) * sizeof(float));
  for (const Part& part : own.layers) {
    const auto take = [&](Index count) { return count == 0 ? nullptr : (data += count) - count; };
    SquaredNorms& norms = context.layers[static_cast<std::size_t>(part.layer)].squared_norms;
    norms.rows = take(part.rows), norms.bias = take(part.bias), norms.beta = take(part.beta);
  }
}

template <class T>
void SquaredNormBuffers<T>::end(Context<T>& context, int op, Device<T>& device) const {
  for (const Part& part : ops_[static_cast<std::size_t>(op)].layers) {
    device.update_statistics(context.layers[static_cast<std::size_t>(part.layer)]);
  }
}

template class SquaredNormBuffers<float>;
template class SquaredNormBuffers<double>;

}  // namespace sparsebp
