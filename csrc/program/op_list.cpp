#include "program/op_list.h"

namespace sparsebp {

template <class T>
void OpList<T>::lay_out(const ProgramSpec& spec, Device<T>& device, Context<T>& context, const ValueBuffers<T>& values,
                        SquaredNormBuffers<T>& squared_norms) {
  const int n = static_cast<int>(spec.ops.size());
  const bool shares = context.workspace != &context.training;
  stream_of_op_ = stream_of_ops(spec);
  sharing_ = Sharing(spec.ops.size());
  for (const StreamSpec& stream : spec.streams) {
    streams_.emplace_back(spec, stream);
    streams_.back().declare(context, spec);
  }
  for (int i = 0; i < n; ++i) {
    const OpSpec& op = spec.ops[static_cast<std::size_t>(i)];
    const int stream = stream_of_op_[static_cast<std::size_t>(i)];
    names_.push_back(op.layers.empty() ? "op" + std::to_string(i)
                                       : spec.layers[static_cast<std::size_t>(op.layers[0])].name);
    std::vector<char> input_grads;
    for (int input : op.inputs) input_grads.push_back(values.needs_grad(input));
    ops_.push_back(device.make_op(
        op, spec,
        {context.training, *context.workspace, shares ? &context.strips : nullptr, spec.batch, i, i, 2 * n - 1 - i,
         i >= spec.span_begin && values.needs_grad(op.output), values.needs_grad(op.inputs[0]), input_grads,
         device.strip_factor(), stream < 0 ? StreamRows{} : streams_[static_cast<std::size_t>(stream)].rows(i),
         names_.back()}));
    squared_norms.declare(context.training.layout, spec, i, 2 * n - 1 - i);
  }
  SharedScratch& strips = context.strips;
  if (strips.count == 0) return;
  strips.buffer =
      context.workspace->layout.add("strips", {-1, -1, "strips"}, Category::activations,
                                    byte_count("strips", strips.count, sizeof(T)), strips.begin, strips.end);
}

template <class T>
int OpList<T>::after(int op) const {
  const int stream = stream_of_op_[static_cast<std::size_t>(op)];
  return stream < 0 ? op + 1 : streams_[static_cast<std::size_t>(stream)].last();
}

template <class T>
void OpList<T>::forward(int op, Context<T>& context, const InputBuffers<T>& input) {
  const int stream = stream_of_op_[static_cast<std::size_t>(op)];
  if (stream < 0) {
    ops_[static_cast<std::size_t>(op)]->forward(context);
  } else {
    streams_[static_cast<std::size_t>(stream)].forward(context, ops_, input);
  }
}

template class OpList<float>;
template class OpList<double>;

}  // namespace sparsebp
