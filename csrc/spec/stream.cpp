#include "spec/stream.h"

namespace sparsebp {

bool makes_rows(OpKind kind) {
  switch (kind) {
    case OpKind::conv:
    case OpKind::depthwise:
    case OpKind::block:
    case OpKind::activation:
    case OpKind::affine:
    case OpKind::norm:
    case OpKind::prelu:
    case OpKind::pool:
    case OpKind::max_pool:
      return true;
    default:
      return false;
  }
}

ConvShape window_of(const ProgramSpec& spec, const OpSpec& op) {
  switch (op.kind) {
    case OpKind::conv:
    case OpKind::depthwise:
      return spec.layers[static_cast<std::size_t>(op.layers[0])].shape;
    case OpKind::block:
      return spec.layers[static_cast<std::size_t>(op.layers[op.layers.size() - 2])].shape;
    case OpKind::pool:
    case OpKind::max_pool:
      return op.window;
    default: {  // row by row
      const ValueSpec& value = spec.values[static_cast<std::size_t>(op.output)];
      ConvShape window;
      window.in = window.out = window.groups = value.channels;
      window.height = window.out_height = value.height, window.width = window.out_width = value.width;
      return window;
    }
  }
}

bool reads_images(const ProgramSpec& spec, const StreamSpec& stream) {
  if (stream.first > 0) return false;
  Index readers = 0;
  for (const OpSpec& op : spec.ops) readers += std::count(op.inputs.begin(), op.inputs.end(), spec.input);
  return readers == 1;
}

StreamWalk::StreamWalk(const ProgramSpec& spec, const StreamSpec& stream) : holds_first_(reads_images(spec, stream)) {
  for (int i = stream.first; i < stream.last; ++i) {
    const OpSpec& op = spec.ops[static_cast<std::size_t>(i)];
    windows_.push_back(window_of(spec, op));
    residual_.push_back(op.residual);
    rows_.push_back(op.forward_rows > 0 ? op.forward_rows : windows_.back().out_height);
  }
  held_.resize(windows_.size());
}

std::vector<StreamRows> stream_rows(StreamWalk& walk) {
  struct Measure {
    const StreamWalk& walk;
    std::vector<StreamRows> rows;
    void drop(int, Range, Index) {}
    void read(Range, Range) {}
    void make(int op, Range held, Range out) {
      const Range reached = reached_rows(walk.window(op), out);
      StreamRows& most = rows[static_cast<std::size_t>(op)];
      const Range used = walk.holds(op) ? held : reached;
      most.held = std::max(most.held, used.end - used.begin);
      most.reached = std::max(most.reached, reached.end - reached.begin);
      most.made = std::max(most.made, out.end - out.begin);
    }
  } measure{walk, std::vector<StreamRows>(static_cast<std::size_t>(walk.size()))};
  walk.run(measure);
  return measure.rows;
}

std::vector<int> stream_of_ops(const ProgramSpec& spec) {
  std::vector<int> streams(spec.ops.size(), -1);
  for (std::size_t s = 0; s < spec.streams.size(); ++s) {
    std::fill(streams.begin() + spec.streams[s].first, streams.begin() + spec.streams[s].last, static_cast<int>(s));
  }
  return streams;
}

}  // namespace sparsebp
