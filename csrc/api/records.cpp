#include "api/records.h"

#include <algorithm>

namespace sparsebp {
namespace {

constexpr std::uint32_t kPlanMagic = 0x50504253, kStateMagic = 0x53504253;  // "SBPP" and "SBPS"
// Plans of version 2 say how much a forward pass makes at once, what it keeps, and what the budget covers; those of
// version 3 have more kinds of layers and ops; those of version 4 reduce channels and scale images by any factor.
constexpr std::uint16_t kPlanMajor = 4, kStateMajor = 1, kMinor = 0;
constexpr int kScopes = 2, kKeeps = 3, kLayerKinds = 3, kResamplings = 3, kDropUnits = 3, kReductions = 3;

void begin(ByteWriter& out, std::uint32_t magic, std::uint16_t major) {
  out.put(magic), out.put(major), out.put(kMinor);
}

// The major version, at most `newest`.
std::uint16_t begin(ByteReader& in, std::uint32_t magic, std::uint16_t newest) {
  if (in.get<std::uint32_t>() != magic) in.fail("it does not begin as such a record does");
  const auto major = in.get<std::uint16_t>();
  in.get<std::uint16_t>();  // a minor version adds nothing that a reader must know
  if (major < 1 || major > newest) {
    throw InvalidFile("the plan file has format " + std::to_string(major) + ", this version of sparsebp reads 1 to " +
                      std::to_string(newest) + "; take a newer sparsebp, or export again with this one");
  }
  return major;
}

// Every number of a shape, in the order in which it is stored.
template <class Shape, class F>
void each(Shape& s, F f) {
  f(s.in), f(s.out), f(s.groups), f(s.height), f(s.width), f(s.out_height), f(s.out_width), f(s.kernel_h);
  f(s.kernel_w), f(s.stride_h), f(s.stride_w), f(s.pad_h), f(s.pad_w), f(s.dilation_h), f(s.dilation_w);
}

void write(ByteWriter& out, const ConvShape& shape) {
  each(shape, [&out](Index side) { out.put<std::int64_t>(side); });
}
ConvShape read_shape(ByteReader& in) {
  ConvShape shape;
  each(shape, [&in](Index& side) { side = in.get<std::int64_t>(); });
  return shape;
}

void write(ByteWriter& out, const LayerSpec& layer, const LayerTensors& tensors) {
  out.put(layer.name);
  write(out, layer.shape);
  out.put(static_cast<std::uint8_t>(layer.activation));
  out.put<std::uint8_t>(layer.has_bias), out.put<std::uint8_t>(layer.has_norm);
  out.put(layer.eps);
  out.put<std::int64_t>(layer.selected);
  out.put<std::uint8_t>(layer.train_bias);
  out.put(static_cast<std::uint8_t>(layer.kind));
  out.put<std::uint8_t>(layer.shared);
  for (const std::string* name : tensors.all()) out.put(*name);
}
LayerSpec read_layer(ByteReader& in, LayerTensors& tensors, std::uint16_t version) {
  LayerSpec layer;
  layer.name = in.text();
  layer.shape = read_shape(in);
  layer.activation = in.kind<Activation>(kActivations);
  layer.has_bias = in.flag(), layer.has_norm = in.flag();
  layer.eps = in.get<double>();
  layer.selected = in.get<std::int64_t>();
  layer.train_bias = in.flag();
  if (version > 2) layer.kind = in.kind<LayerKind>(kLayerKinds), layer.shared = in.flag();
  for (std::string* name : {&tensors.weight, &tensors.bias, &tensors.gamma, &tensors.beta, &tensors.mean, &tensors.var})
    *name = in.text();
  return layer;
}

void write(ByteWriter& out, const std::vector<int>& numbers) {
  out.put(static_cast<std::uint32_t>(numbers.size()));
  for (int number : numbers) out.put<std::int32_t>(number);
}
std::vector<int> read_numbers(ByteReader& in) {
  std::vector<int> numbers(in.count(4));
  for (int& number : numbers) number = in.get<std::int32_t>();
  return numbers;
}

void write(ByteWriter& out, const OpSpec& op) {
  out.put(static_cast<std::uint8_t>(op.kind));
  write(out, op.inputs);
  out.put<std::int32_t>(op.output);
  write(out, op.layers);
  out.put<std::uint8_t>(op.residual);
  out.put<std::int64_t>(op.block);
  out.put(static_cast<std::uint8_t>(op.activation));
  write(out, op.window);
  out.put<std::uint8_t>(op.count_padding);
  out.put(op.drop);
  out.put<std::int64_t>(op.forward_rows), out.put<std::int64_t>(op.forward_block);
  out.put(static_cast<std::uint8_t>(op.keep));
  out.put(op.alpha), out.put(op.beta), out.put<std::int64_t>(op.groups);
  out.put<std::uint8_t>(static_cast<std::uint8_t>(op.bits));
  out.put(static_cast<std::uint8_t>(op.resampling));
  write(out, op.map);
  out.put(static_cast<std::uint8_t>(op.drop_unit));
  out.put<std::int64_t>(op.top), out.put<std::int64_t>(op.left);
  out.put(static_cast<std::uint8_t>(op.reduction)), out.put(op.scale_h), out.put(op.scale_w);
}
OpSpec read_op(ByteReader& in, std::uint16_t version) {
  OpSpec op;
  op.kind = in.kind<OpKind>(kOpKinds);
  op.inputs = read_numbers(in);
  op.output = in.get<std::int32_t>();
  op.layers = read_numbers(in);
  op.residual = in.flag();
  op.block = in.get<std::int64_t>();
  op.activation = in.kind<Activation>(kActivations);
  op.window = read_shape(in);
  op.count_padding = in.flag();
  op.drop = in.get<double>();
  if (version > 1) {
    op.forward_rows = in.get<std::int64_t>(), op.forward_block = in.get<std::int64_t>();
    op.keep = in.kind<Keep>(kKeeps);
  }
  if (version > 2) {
    op.alpha = in.get<double>(), op.beta = in.get<double>(), op.groups = in.get<std::int64_t>();
    op.bits = in.get<std::uint8_t>(), op.resampling = in.kind<Resampling>(kResamplings);
    op.map = read_numbers(in);
    op.drop_unit = in.kind<DropUnit>(kDropUnits), op.top = in.get<std::int64_t>(), op.left = in.get<std::int64_t>();
  }
  if (version > 3) {
    op.reduction = in.kind<Reduction>(kReductions), op.scale_h = in.get<double>(), op.scale_w = in.get<double>();
  }
  return op;
}

void write(ByteWriter& out, const ParameterRule& rule) {
  out.put<std::uint8_t>(rule.trains);
  out.put(rule.rate), out.put(rule.weight_decay), out.put(rule.momentum);
  out.put<std::uint8_t>(rule.normalise);
}
ParameterRule read_rule(ByteReader& in) {
  ParameterRule rule;
  rule.trains = in.flag();
  rule.rate = in.get<double>(), rule.weight_decay = in.get<double>(), rule.momentum = in.get<double>();
  rule.normalise = in.flag();
  return rule;
}

void write(ByteWriter& out, const Recipe& recipe) {
  for (const LayerRule& rule : recipe.rules) write(out, rule.weight), write(out, rule.bias), write(out, rule.shift);
  out.put(static_cast<std::uint8_t>(recipe.sampling));
  out.put(recipe.seed), out.put(recipe.dropout_seed), out.put(recipe.resample_every);
  out.put<std::int64_t>(recipe.batch);
  out.put(static_cast<std::uint8_t>(recipe.schedule));
  out.put(recipe.warmup), out.put(recipe.steps), out.put(recipe.label_smoothing), out.put(recipe.skip_above);
}
Recipe read_recipe(ByteReader& in, std::size_t layers) {
  Recipe recipe;
  recipe.rules.resize(layers);
  for (LayerRule& rule : recipe.rules) {
    rule.weight = read_rule(in), rule.bias = read_rule(in), rule.shift = read_rule(in);
  }
  recipe.sampling = in.kind<Sampling>(kSamplings);
  recipe.seed = in.get<std::uint64_t>(), recipe.dropout_seed = in.get<std::uint64_t>();
  recipe.resample_every = in.get<std::uint64_t>();
  recipe.batch = in.get<std::int64_t>();
  recipe.schedule = in.kind<Schedule>(kSchedules);
  recipe.warmup = in.get<double>(), recipe.steps = in.get<std::uint64_t>();
  recipe.label_smoothing = in.get<double>(), recipe.skip_above = in.get<double>();
  return recipe;
}

// Native code trusts the update sets: each must be so many different channels of its layer.
void check_update_sets(const ProgramSpec& spec, const std::string& bytes, const ByteReader& in) {
  const char* at = bytes.data();
  for (const LayerSpec& layer : spec.layers) {
    if (layer.selected == 0 || layer.selected == layer.shape.in) continue;
    std::vector<char> seen(static_cast<std::size_t>(layer.shape.in), 0);
    for (Index j = 0; j < layer.selected; ++j, at += sizeof(std::int32_t)) {
      std::int32_t channel = 0;
      std::memcpy(&channel, at, sizeof channel);
      if (channel < 0 || channel >= layer.shape.in || seen[static_cast<std::size_t>(channel)]++ != 0) {
        in.fail("the channels drawn for " + layer.name + " are not different channels of it");
      }
    }
  }
}

constexpr const char* kState = "the training state";

Progress read_progress(ByteReader& in) {
  begin(in, kStateMagic, kStateMajor);
  Progress p;
  p.batches = in.get<std::uint64_t>(), p.steps = in.get<std::uint64_t>(), p.turn = in.get<std::uint64_t>();
  p.forwards = in.get<std::uint64_t>(), p.due = in.flag();
  return p;
}

}  // namespace

void write_plan(ByteWriter& out, const PlanRecord& plan) {
  const ProgramSpec& spec = plan.spec;
  begin(out, kPlanMagic, kPlanMajor);
  out.put(static_cast<std::uint32_t>(spec.values.size()));
  for (const ValueSpec& value : spec.values) {
    out.put<std::int64_t>(value.height), out.put<std::int64_t>(value.width), out.put<std::int64_t>(value.channels);
  }
  out.put(static_cast<std::uint32_t>(spec.layers.size()));
  for (std::size_t i = 0; i < spec.layers.size(); ++i) write(out, spec.layers[i], plan.tensors.at(i));
  out.put(static_cast<std::uint32_t>(spec.ops.size()));
  for (const OpSpec& op : spec.ops) write(out, op);
  out.put<std::int32_t>(spec.input), out.put<std::int32_t>(spec.output), out.put<std::int32_t>(spec.span_begin);
  out.put<std::int64_t>(spec.batch);
  for (bool flag : {spec.momentum, spec.sums, spec.scores, spec.normalise}) out.put<std::uint8_t>(flag);
  out.put(static_cast<std::uint8_t>(spec.scope));
  out.put<std::uint8_t>(spec.pictures);
  out.put(static_cast<std::uint32_t>(spec.streams.size()));
  for (const StreamSpec& stream : spec.streams) out.put<std::int32_t>(stream.first), out.put<std::int32_t>(stream.last);
  write(out, plan.recipe);
  out.put(plan.budget), out.put(plan.arena_bytes), out.put(plan.workspace_bytes);
}

PlanRecord read_plan(const unsigned char* data, std::size_t size) {
  ByteReader in(data, size, "the plan");
  PlanRecord plan;
  ProgramSpec& spec = plan.spec;
  const std::uint16_t version = begin(in, kPlanMagic, kPlanMajor);
  spec.values.resize(in.count(24));
  for (ValueSpec& value : spec.values) {
    value.height = in.get<std::int64_t>(), value.width = in.get<std::int64_t>(),
    value.channels = in.get<std::int64_t>();
  }
  const std::size_t layers = in.count(4 + 15 * 8);
  for (std::size_t i = 0; i < layers; ++i) {
    plan.tensors.emplace_back();
    spec.layers.push_back(read_layer(in, plan.tensors.back(), version));
  }
  const std::size_t ops = in.count(15 * 8);
  for (std::size_t i = 0; i < ops; ++i) spec.ops.push_back(read_op(in, version));
  spec.input = in.get<std::int32_t>(), spec.output = in.get<std::int32_t>(), spec.span_begin = in.get<std::int32_t>();
  spec.batch = in.get<std::int64_t>();
  spec.momentum = in.flag(), spec.sums = in.flag(), spec.scores = in.flag(), spec.normalise = in.flag();
  if (version > 1) {
    spec.scope = in.kind<Scope>(kScopes), spec.pictures = in.flag();
    spec.streams.resize(in.count(8));
    for (StreamSpec& stream : spec.streams) stream.first = in.get<std::int32_t>(), stream.last = in.get<std::int32_t>();
  }
  plan.recipe = read_recipe(in, layers);
  plan.budget = in.get<std::uint64_t>(), plan.arena_bytes = in.get<std::uint64_t>();
  plan.workspace_bytes = in.get<std::uint64_t>();
  in.finish();
  return plan;
}

std::vector<unsigned char> write_state(const Progress& p, double rate, const Regions& regions) {
  ByteWriter out;
  begin(out, kStateMagic, kStateMajor);
  out.put(p.batches), out.put(p.steps), out.put(p.turn), out.put(p.forwards);
  out.put<std::uint8_t>(p.due);
  out.put(rate);
  out.put(static_cast<std::uint32_t>(regions.size()));
  for (const auto& [name, bytes] : regions) out.put(name), out.put(bytes);
  return out.bytes();
}

std::vector<unsigned char> write_state(Session& session) {
  AnyProgram& program = session.attached();
  Regions regions;
  for (const auto& region : program.persistent()) {
    regions.emplace_back(region.name, std::string(region.bytes, '\0'));
    program.read(region, regions.back().second.data());
  }
  return write_state(session.progress(), session.rate(), regions);
}

Progress read_progress(const unsigned char* data, std::size_t size) {
  ByteReader in(data, size, kState);
  return read_progress(in);
}

void read_state(Session& session, const unsigned char* data, std::size_t size) {
  ByteReader in(data, size, kState);
  const Progress p = read_progress(in);
  const double rate = in.get<double>();
  AnyProgram& program = session.attached();
  const auto regions = program.persistent();
  if (in.count(8) != regions.size()) in.fail("it belongs to another plan");
  std::vector<std::string> contents;
  for (const auto& region : regions) {
    if (in.text() != region.name) in.fail("it belongs to another plan");
    contents.push_back(in.bytes());
    if (contents.back().size() != region.bytes) in.fail("it belongs to another plan");
  }
  in.finish();
  for (std::size_t i = 0; i < regions.size(); ++i) {
    if (regions[i].name == "indices") check_update_sets(session.spec(), contents[i], in);
  }
  if (!(rate >= 0 && rate - rate == 0)) in.fail("a rate that is none");
  session.set_rate(rate);
  for (std::size_t i = 0; i < regions.size(); ++i) program.write(regions[i], contents[i].data());
  session.set_progress(p);
}

}  // namespace sparsebp
