#include "spec/stream.h"
#include "specs.h"

namespace fuzz {

using namespace sparsebp;

namespace {

// Can the op behind go on with the stream that `op` is in.
bool goes_on(const ProgramSpec& spec, std::size_t op) {
  if (!makes_rows(spec.ops[op + 1].kind) || spec.ops[op + 1].inputs[0] != spec.ops[op].output) return false;
  Index readers = 0;
  for (const OpSpec& other : spec.ops) {
    for (int input : other.inputs) readers += input == spec.ops[op].output ? 1 : 0;
  }
  return readers == 1;
}

void make_keeps(ProgramSpec& spec, Choices& choices, std::size_t span) {
  for (std::size_t i = span; i < spec.ops.size(); ++i) {
    OpSpec& op = spec.ops[i];
    if (op.kind == OpKind::block) op.keep = static_cast<Keep>(choices.below(op.layers.size() < 3 ? 2 : 3));
  }
}

}  // namespace

void make_pieces(ProgramSpec& spec, Choices& choices) {
  if (choices.flag()) {
    for (OpSpec& op : spec.ops) {
      op.forward_rows = choices.below(5);
      op.forward_block = kPanel * choices.below(4);
    }
  }
  if (choices.flag()) spec.scope = Scope::step, spec.pictures = choices.flag();
  const auto span = static_cast<std::size_t>(spec.span_begin);
  if (spec.scope == Scope::step) make_keeps(spec, choices, span);
  if (choices.rarely(4)) return;
  for (std::size_t first = 0; first < span; ++first) {
    if (!makes_rows(spec.ops[first].kind) || choices.rarely(4)) continue;
    std::size_t last = first + 1;
    while (last < span && goes_on(spec, last - 1) && !choices.rarely(4)) ++last;
    spec.streams.push_back({static_cast<int>(first), static_cast<int>(last)});
    first = last - 1;
  }
}

}  // namespace fuzz
