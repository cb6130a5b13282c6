#include "spec/liveness.h"

namespace sparsebp {

Liveness find_liveness(const ProgramSpec& spec) {
  const std::size_t values = spec.values.size();
  Liveness live{std::vector<int>(values, -1), std::vector<int>(values, -1), std::vector<char>(values, 0)};
  live.needs_grad[static_cast<std::size_t>(spec.input)] = spec.input_grad && spec.span_begin == 0;
  for (std::size_t i = 0; i < spec.ops.size(); ++i) {
    const OpSpec& op = spec.ops[i];
    bool needs = false;
    for (int layer : op.layers) needs |= spec.layers[static_cast<std::size_t>(layer)].trains();
    for (int input : op.inputs) {
      live.consumer[static_cast<std::size_t>(input)] = static_cast<int>(i);
      needs |= live.needs_grad[static_cast<std::size_t>(input)] != 0;
    }
    const auto output = static_cast<std::size_t>(op.output);
    live.producer[output] = static_cast<int>(i);
    live.needs_grad[output] = needs && static_cast<int>(i) >= spec.span_begin;
  }
  return live;
}

int end_of_prefix(const ProgramSpec& spec) {
  const Liveness live = find_liveness(spec);
  // By op: how many more values wait for it, or for one behind it, than for the op before it.
  std::vector<int> more(spec.ops.size() + 1, 0);
  for (std::size_t v = 0; v < spec.values.size(); ++v) {
    if (static_cast<int>(v) == spec.output) continue;
    ++more[static_cast<std::size_t>(live.producer[v] + 1)];
    --more[static_cast<std::size_t>(live.consumer[v] + 1)];
  }
  int end = 0, waiting = 0;
  for (int i = 0; i <= spec.span_begin; ++i) {
    waiting += more[static_cast<std::size_t>(i)];
    if (waiting == 1) end = i;
  }
  return end;
}

int classifier(const ProgramSpec& spec) {
  const std::vector<int> producer = find_liveness(spec).producer;
  for (int op = producer[static_cast<std::size_t>(spec.output)]; op >= 0;) {
    const OpSpec& made = spec.ops[static_cast<std::size_t>(op)];
    switch (made.kind) {
      case OpKind::conv:
      case OpKind::head:
        return made.layers[0];
      case OpKind::activation:
      case OpKind::pool:
      case OpKind::max_pool:
      case OpKind::adaptive_pool:
      case OpKind::resize:
      case OpKind::dropout:
      case OpKind::affine:
      case OpKind::prelu:
        op = producer[static_cast<std::size_t>(made.inputs[0])];
        break;
      default:
        return -1;
    }
  }
  return -1;
}

}  // namespace sparsebp
