#include "spec/validate.h"

#include <cmath>
#include <string>

#include "core/error.h"
#include "core/size_limits.h"
#include "spec/stream.h"

namespace sparsebp {
namespace {

// Ids and moments of a step are ints.
constexpr std::size_t kMostOps = std::size_t{1} << 20;
// Ops of a stream call each other.
constexpr int kMostStreamed = 256;
// A stream's rows are counted by walking through it.
constexpr Index kMostStreamedRows = Index{1} << 16;

std::string counted(const char* what, std::size_t index) { return std::string(what) + " " + std::to_string(index); }

void check_id(const char* name, int id, std::size_t count) {
  if (id >= 0 && static_cast<std::size_t>(id) < count) return;
  throw InvalidArgument(std::string(name) + ": expected 0 to " + std::to_string(count - 1) + ", got " +
                        std::to_string(id));
}

void check_counts(const ProgramSpec& spec) {
  if (spec.ops.empty()) throw InvalidArgument("ops: a program needs at least one");
  const auto few = [](const char* name, std::size_t count) {
    if (count > kMostOps) {
      throw InvalidArgument(std::string(name) + ": expected at most " + std::to_string(kMostOps) + ", got " +
                            std::to_string(count));
    }
  };
  few("ops", spec.ops.size());
  few("layers", spec.layers.size());
  few("values", spec.values.size());
  check_size("program", "batch", spec.batch, 1);
  check_id("span_begin", spec.span_begin, spec.ops.size());
  if (spec.values.empty()) throw InvalidArgument("values: a program needs an input and an output");
  check_id("input", spec.input, spec.values.size());
  check_id("output", spec.output, spec.values.size());
}

// One pixel wide, each channel by itself, nothing selected.
void check_channelwise(const LayerSpec& layer, const std::string& name) {
  if (layer.kind != LayerKind::channelwise) {
    if (layer.shared) throw InvalidArgument(name + ": shared: only a channelwise layer is");
    return;
  }
  const ConvShape& s = layer.shape;
  if (s.in != s.out || s.groups != s.in || s.taps() != 1 || s.out_height != s.height || s.out_width != s.width ||
      s.stride_h != 1 || s.stride_w != 1 || s.pad_h != 0 || s.pad_w != 0) {
    throw InvalidArgument(name + ": expected as many groups and output channels as input channels, one tap, stride 1");
  }
  if (layer.selected != 0) throw InvalidArgument(name + ": selected: a channelwise layer has no weight");
  if (layer.shared && (layer.has_norm || layer.train_bias)) {
    throw InvalidArgument(name + ": shared: it has no statistics, and does not train");
  }
}

void check_layer(const LayerSpec& layer, std::size_t index, Index batch) {
  const std::string name = counted("layer", index) + " (" + layer.name + ")";
  if (layer.kind > LayerKind::channelwise) {
    throw InvalidArgument(name + ": kind: expected 0 to 2, got " + std::to_string(static_cast<int>(layer.kind)));
  }
  if (layer.kind == LayerKind::transposed) {
    check_transposed(name, layer.shape, batch);
  } else {
    check_convolution(name, layer.shape, batch);
  }
  check_channelwise(layer, name);
  check_size(name, "selected", layer.selected, 0, layer.shape.in);
  if (layer.activation > Activation::mish) {
    throw InvalidArgument(name + ": activation: expected 0 to " + std::to_string(kActivations - 1) + ", got " +
                          std::to_string(static_cast<int>(layer.activation)));
  }
  if (!std::isfinite(layer.eps) || layer.eps < 0) {
    throw InvalidArgument(name + ": eps: expected a finite number of at least 0, got " + std::to_string(layer.eps));
  }
}

// Every value is made before it is read, once, and read; every layer belongs to one op.
void check_order(const ProgramSpec& spec) {
  constexpr int kNobody = -1;
  std::vector<char> ready(spec.values.size(), 0), read(spec.values.size(), 0);
  std::vector<int> owner(spec.layers.size(), kNobody);
  ready[static_cast<std::size_t>(spec.input)] = 1;
  for (std::size_t i = 0; i < spec.ops.size(); ++i) {
    validate_op(spec, i);
    const OpSpec& op = spec.ops[i];
    for (int input : op.inputs) {
      if (ready[static_cast<std::size_t>(input)] == 0) {
        throw InvalidArgument(counted("op", i) + ": reads a value before it exists, value " + std::to_string(input));
      }
      read[static_cast<std::size_t>(input)] = 1;
    }
    char& made = ready[static_cast<std::size_t>(op.output)];
    if (made != 0) {
      throw InvalidArgument(counted("op", i) + ": writes a value twice, value " + std::to_string(op.output));
    }
    made = 1;
    for (int layer : op.layers) {
      int& first = owner[static_cast<std::size_t>(layer)];
      if (first != kNobody) {
        throw InvalidArgument(counted("op", i) + ": layers: layer " + std::to_string(layer) + " belongs to op " +
                              std::to_string(first) + " already; a layer runs once");
      }
      first = static_cast<int>(i);
    }
  }
  if (spec.ops.back().output != spec.output) {
    throw InvalidArgument("output: expected the last op's value, " + std::to_string(spec.ops.back().output) + ", got " +
                          std::to_string(spec.output));
  }
  for (std::size_t i = 0; i + 1 < spec.ops.size(); ++i) {
    // A value without a reader has no lifetime that a layout could plan for.
    if (read[static_cast<std::size_t>(spec.ops[i].output)] == 0) {
      throw InvalidArgument(counted("op", i) + ": nothing reads its value");
    }
  }
  for (std::size_t v = 0; v < ready.size(); ++v) {
    if (ready[v] == 0) throw InvalidArgument(counted("value", v) + ": no op makes it");
  }
  for (std::size_t l = 0; l < owner.size(); ++l) {
    if (owner[l] == kNobody) throw InvalidArgument(counted("layer", l) + ": no op runs it");
  }
}

// Streams lie in front of the span, one behind the other; inside, each op reads what the one before makes, and nobody
// else does.
void check_streams(const ProgramSpec& spec) {
  std::vector<int> readers(spec.values.size(), 0);
  for (const OpSpec& op : spec.ops) {
    for (int input : op.inputs) ++readers[static_cast<std::size_t>(input)];
  }
  int least = 0;
  for (std::size_t s = 0; s < spec.streams.size(); ++s) {
    const StreamSpec& stream = spec.streams[s];
    const std::string name = counted("stream", s);
    if (stream.first < least || stream.last <= stream.first || stream.last > spec.span_begin ||
        stream.last - stream.first > kMostStreamed) {
      throw InvalidArgument(name + ": expected at most " + std::to_string(kMostStreamed) + " ops from " +
                            std::to_string(least) + " on, before the span, op " + std::to_string(spec.span_begin) +
                            "; got " + std::to_string(stream.first) + " to " + std::to_string(stream.last));
    }
    least = stream.last;
    for (int i = stream.first; i < stream.last; ++i) {
      const OpSpec& op = spec.ops[static_cast<std::size_t>(i)];
      const std::string what = name + ": op " + std::to_string(i);
      if (!makes_rows(op.kind)) throw InvalidArgument(what + " makes its output whole");
      check_size(what, "height", spec.values[static_cast<std::size_t>(op.output)].height, 1, kMostStreamedRows);
      if (i == stream.first) continue;
      const int before = spec.ops[static_cast<std::size_t>(i) - 1].output;
      if (op.inputs[0] != before || readers[static_cast<std::size_t>(before)] != 1) {
        throw InvalidArgument(what + ": expected it to be the only reader of value " + std::to_string(before));
      }
    }
  }
  // What is saved of a block lies panel by panel; in a stream nothing is.
  const std::vector<int> streams = stream_of_ops(spec);
  for (std::size_t i = 0; i < spec.ops.size(); ++i) {
    if (streams[i] >= 0 || spec.ops[i].forward_block % kPanel == 0) continue;
    throw InvalidArgument(counted("op", i) + ": forward_block: expected a multiple of " + std::to_string(kPanel) +
                          " outside a stream, got " + std::to_string(spec.ops[i].forward_block));
  }
  if (spec.pictures && spec.scope != Scope::step) {
    throw InvalidArgument("pictures: only a budget that covers the whole step holds them");
  }
}

}  // namespace

void validate(const ProgramSpec& spec) {
  check_counts(spec);
  for (std::size_t v = 0; v < spec.values.size(); ++v) {
    const ValueSpec& value = spec.values[v];
    check_tensor(counted("value", v), value.height, value.width, value.channels, spec.batch);
  }
  for (std::size_t l = 0; l < spec.layers.size(); ++l) check_layer(spec.layers[l], l, spec.batch);
  check_order(spec);
  check_streams(spec);
}

void check_spare(const LayerSpec& layer, Index count) {
  if (count >= 0 && count < layer.shape.out && (count == 0 || (layer.shape.groups == 1 && !layer.has_norm))) return;
  throw InvalidArgument(layer.name + ": spare: expected 0 to " + std::to_string(layer.shape.out - 1) +
                        " output channels, more than 0 only without groups and batch norm, got " +
                        std::to_string(count));
}

void check_channels(const LayerSpec& layer, const std::vector<std::int32_t>& channels) {
  if (static_cast<Index>(channels.size()) != layer.selected) {
    throw InvalidArgument(layer.name + ": expected " + std::to_string(layer.selected) + " channels, got " +
                          std::to_string(channels.size()));
  }
  std::vector<char> seen(static_cast<std::size_t>(layer.shape.in), 0);
  for (std::int32_t c : channels) {
    if (c < 0 || c >= layer.shape.in) {
      throw InvalidArgument(layer.name + ": channel " + std::to_string(c) + " is out of range, 0 to " +
                            std::to_string(layer.shape.in - 1));
    }
    if (seen[static_cast<std::size_t>(c)]++ != 0) {
      throw InvalidArgument(layer.name + ": channel " + std::to_string(c) + " appears twice");
    }
  }
}

}  // namespace sparsebp
