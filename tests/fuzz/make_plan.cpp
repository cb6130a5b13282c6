#include <map>
#include <string>

#include "api/plan_file.h"
#include "core/random.h"
#include "plan_bytes.h"
#include "specs.h"

namespace fuzz {

using namespace sparsebp;

namespace {

ParameterRule make_rule(const ProgramSpec& spec, Choices& choices) {
  ParameterRule rule;
  rule.trains = !choices.rarely(4);
  rule.rate = 0.01 * static_cast<double>(choices.below(5));
  rule.weight_decay = choices.rarely(4) ? 0.01 : 0;
  rule.momentum = spec.momentum ? 0.5 : 0;
  rule.normalise = spec.normalise;
  return rule;
}

Recipe make_recipe(const ProgramSpec& spec, Choices& choices) {
  constexpr Sampling kPlain[] = {Sampling::uniform, Sampling::cyclic, Sampling::fixed};
  constexpr Sampling kScored[] = {Sampling::weighted, Sampling::largest, Sampling::uniform};
  constexpr Schedule kAll[] = {Schedule::constant, Schedule::linear, Schedule::cosine};
  Recipe recipe;
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    recipe.rules.push_back({make_rule(spec, choices), make_rule(spec, choices), make_rule(spec, choices)});
  }
  recipe.sampling = choices.of(spec.scores ? kScored : kPlain);
  recipe.seed = choices.word();
  recipe.resample_every = static_cast<std::uint64_t>(choices.from(1, 3));
  recipe.batch = choices.from(1, 3);
  recipe.schedule = choices.of(kAll);
  recipe.steps = static_cast<std::uint64_t>(choices.below(8));
  recipe.skip_above = choices.rarely(4) ? 0.5 : 1;
  return recipe;
}

// Tensors one after the other.
class Tensors {
 public:
  std::string add(const std::string& name, const char* type, std::vector<std::uint64_t> shape, std::string bytes) {
    tensors_[name] = {type, std::move(shape), 0, 0};
    names_.push_back(name);
    contents_ += bytes;
    return name;
  }
  std::string numbers(const std::string& name, Index count, bool positive = false) {
    ByteWriter out;
    for (Index i = 0; i < count; ++i) {
      const float value = static_cast<float>(random_unit(5, drawn_++)) - (positive ? 0.0f : 0.5f);
      std::uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      out.put(bits);
    }
    return add(name, "F32", {static_cast<std::uint64_t>(count)}, {out.bytes().begin(), out.bytes().end()});
  }
  std::vector<unsigned char> file() {
    std::string all = make_header(tensors_, names_, {{"format", "sparsebp-plan"}, {"version", "1.0"}}) + contents_;
    return {all.begin(), all.end()};
  }

 private:
  std::map<std::string, StoredTensor> tensors_;
  std::vector<std::string> names_;
  std::string contents_;
  std::uint64_t drawn_ = 0;
};

// Names of some of the outputs, if the others can be spare.
void add_class_names(Tensors& tensors, const PlanRecord& plan, Index outputs, Choices& choices) {
  const Index classes = choices.from(1, outputs);
  try {
    const Session session(plan.spec, plan.recipe, {}, classes);
  } catch (const InvalidArgument&) {
    return;
  }
  std::string rows(static_cast<std::size_t>(outputs) * ClassNames::kRow, '\0');
  for (std::size_t i = 0; i < static_cast<std::size_t>(classes); ++i) {
    const std::string name = "class " + std::to_string(i);
    rows.replace(i * ClassNames::kRow, name.size(), name);
  }
  tensors.add(kClassesTensor, "U8", {static_cast<std::uint64_t>(outputs), ClassNames::kRow}, rows);
}

}  // namespace

std::vector<unsigned char> make_plan_bytes(Choices& choices) {
  PlanRecord plan;
  plan.spec = make_spec(choices).spec;
  plan.spec.input_grad = false;
  plan.recipe = make_recipe(plan.spec, choices);
  std::unique_ptr<Session> session;
  try {
    session = std::make_unique<Session>(plan.spec, plan.recipe, std::vector<float>());
  } catch (const InvalidArgument&) {
    return {};
  }
  if (work(plan.spec) > 1e5 || session->arena_bytes() > 1 << 16 || session->workspace_bytes() > 1 << 16) return {};
  plan.arena_bytes = session->arena_bytes(), plan.workspace_bytes = session->workspace_bytes();
  plan.budget = plan.arena_bytes + static_cast<std::uint64_t>(choices.below(64));
  Tensors tensors;
  for (std::size_t i = 0; i < plan.spec.layers.size(); ++i) {
    const LayerSpec& layer = plan.spec.layers[i];
    const std::string name = std::to_string(i);
    LayerTensors names;
    const Index vector = layer.shared ? 1 : layer.shape.out;
    if (layer.has_weight()) names.weight = tensors.numbers(name + ".weight", layer.shape.weights());
    if (layer.has_bias) names.bias = tensors.numbers(name + ".bias", vector);
    if (layer.has_scale()) names.gamma = tensors.numbers(name + ".gamma", vector);
    if (layer.has_norm) {
      names.beta = tensors.numbers(name + ".beta", layer.shape.out);
      names.mean = tensors.numbers(name + ".mean", layer.shape.out);
      names.var = tensors.numbers(name + ".var", layer.shape.out, true);
    }
    plan.tensors.push_back(names);
  }
  if (choices.flag()) {
    tensors.numbers(kTableTensor, 256 * plan.spec.values[static_cast<std::size_t>(plan.spec.input)].channels);
  }
  if (choices.flag()) add_class_names(tensors, plan, session->outputs(), choices);
  ByteWriter record;
  write_plan(record, plan);
  const auto bytes = [&](const char* name, const std::vector<unsigned char>& data) {
    tensors.add(name, "U8", {data.size()}, {data.begin(), data.end()});
  };
  bytes(kPlanTensor, record.bytes());
  session->attach(plan.budget);
  bytes(kStateTensor, write_state(*session));
  return tensors.file();
}

}  // namespace fuzz
