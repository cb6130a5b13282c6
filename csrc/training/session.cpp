#include "training/session.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "program/rules.h"

namespace sparsebp {
namespace {

constexpr double kSquareDecay = 0.999;  // of the mean square that a normalised step divides by
// Keeps the dropouts of different seeds apart; any odd number would do, this one is 2^64 divided by the golden ratio.
constexpr std::uint64_t kSeedStep = 0x9E3779B97F4A7C15ull;

ProgramSpec with_loss(ProgramSpec spec) {
  spec.loss = true;
  return spec;
}

Draw method(Sampling sampling) {
  switch (sampling) {
    case Sampling::cyclic:
      return Draw::cyclic;
    case Sampling::weighted:
      return Draw::weighted;
    case Sampling::largest:
      return Draw::largest;
    default:
      return Draw::uniform;
  }
}

Index count_of(const ProgramSpec& spec, int value) { return spec.values[static_cast<std::size_t>(value)].count(); }

}  // namespace

Session::Session(ProgramSpec spec, Recipe recipe, std::vector<float> table, std::string isa)
    : recipe_(std::move(recipe)),
      table_(std::move(table)),
      isa_(std::move(isa)),
      program_(make_program(with_loss(std::move(spec)), false, isa_)) {
  const ProgramSpec& made = program_->spec();
  validate(recipe_, made.layers.size());
  const bool scored = recipe_.sampling == Sampling::weighted || recipe_.sampling == Sampling::largest;
  if (scored && !made.scores) throw InvalidArgument("recipe: this program keeps no scores to draw by");
  for (const LayerRule& rule : recipe_.rules) {
    for (const ParameterRule* r : {&rule.weight, &rule.bias, &rule.shift}) {
      if (r->momentum > 0 && !made.momentum) throw InvalidArgument("recipe: this program reserves no momentum");
      if (r->normalise && !made.normalise) throw InvalidArgument("recipe: this program keeps no mean squares");
    }
  }
  input_ = count_of(made, made.input), output_ = count_of(made, made.output);
  const Index channels = made.values[static_cast<std::size_t>(made.input)].channels;
  if (!table_.empty() && static_cast<Index>(table_.size()) != 256 * channels) {
    throw InvalidArgument("table: expected 256 numbers for each of " + std::to_string(channels) + " channels, got " +
                          std::to_string(table_.size()));
  }
  if (made.values[static_cast<std::size_t>(made.output)].pixels() != 1) {
    throw InvalidArgument("session: expected a network that returns one number a class, not an image");
  }
  rules_.assign(made.layers.size() * kRuleNumbers, 0);
}

std::size_t Session::arena_bytes() const { return program_->training_layout().peak(); }

std::size_t Session::workspace_bytes() const {
  const auto floats = [](Index count) { return align_up(static_cast<std::size_t>(count) * sizeof(float)); };
  return align_up(program_->workspace_layout().peak()) + floats(spec().batch * input_) + floats(spec().batch * output_);
}

void Session::attach(std::size_t budget, void* block, std::size_t bytes) {
  if (attached_) throw WrongState("attach: this session has its memory already");
  if (block != nullptr) {
    const std::size_t needed = attach_bytes(budget);
    if (bytes < needed) {
      throw InvalidArgument("attach: expected a block of at least " + std::to_string(needed) + " bytes, got " +
                            std::to_string(bytes));
    }
    given_ = std::make_unique<GivenMemory>(block, bytes);
    program_ = make_program(program_->spec(), isa_, *given_);
  }
  program_->allocate(budget);
  if (given_) {
    const auto take = [&](Index count) {
      return reinterpret_cast<float*>(given_->allocate(static_cast<std::size_t>(count) * sizeof(float)));
    };
    numbers_ = take(spec().batch * input_), logits_ = take(spec().batch * output_);
  } else {
    own_input_.assign(static_cast<std::size_t>(spec().batch * input_), 0);
    own_logits_.assign(static_cast<std::size_t>(spec().batch * output_), 0);
    numbers_ = own_input_.data(), logits_ = own_logits_.data();
  }
  attached_ = true;
  draw();
}

Step Session::train(const Pixels& pixels, const std::int32_t* labels, Index n) {
  check(pixels, labels, n);
  if (progress_.due) {
    ++progress_.turn;
    draw();
    progress_.due = false;
  }
  Step step;
  const ProgramSpec& s = spec();
  const int ops = static_cast<int>(s.ops.size());
  for (Index first = 0; first < n; first += s.batch) {
    const Index count = std::min(s.batch, n - first);
    const double share = static_cast<double>(count) / static_cast<double>(n);
    const float* input = images(pixels, first, count);
    program_->forward(0, ops, input, logits_, count, true, true, dropout_key());
    ++progress_.forwards;
    try {
      const auto gradient = static_cast<float*>(program_->loss_gradient());
      const Loss loss = cross_entropy(logits_, labels + first, count, output_, recipe_.label_smoothing,
                                      recipe_.skip_above, s.sums ? share : 1.0, gradient);
      step.loss += loss.mean * share;
      step.correct += loss.correct;
      if (recipe_.skip_above < 1 && loss.learned) {
        program_->discard();
        continue;
      }
      set_rules(s.sums ? n : count, n);
      program_->backward(gradient, nullptr, rules_.data(), false);
    } catch (...) {
      program_->discard();
      throw;
    }
    step.trained += count;
  }
  ++progress_.batches;
  if (step.trained > 0) {
    if (s.sums) program_->apply(rules_.data());
    ++progress_.steps;
    progress_.due = progress_.due || progress_.steps % recipe_.resample_every == 0;
  }
  return step;
}

void Session::predict(const Pixels& pixels, Index n, float* logits) {
  require_attached();
  if (n < 0) throw InvalidArgument("n: expected at least 0, got " + std::to_string(n));
  for (Index first = 0; first < n; first += spec().batch) {
    const Index count = std::min(spec().batch, n - first);
    program_->forward(0, static_cast<int>(spec().ops.size()), images(pixels, first, count), logits + first * output_,
                      count, false, false, 0);
  }
}

Step Session::evaluate(const Pixels& pixels, const std::int32_t* labels, Index n) {
  check(pixels, labels, n);
  Step step;
  for (Index first = 0; first < n; first += spec().batch) {
    const Index count = std::min(spec().batch, n - first);
    program_->forward(0, static_cast<int>(spec().ops.size()), images(pixels, first, count), logits_, count, false,
                      false, 0);
    const Loss loss = cross_entropy<float>(logits_, labels + first, count, output_, 0, 1, 1, nullptr);
    step.loss += loss.mean * static_cast<double>(count) / static_cast<double>(n);
    step.correct += loss.correct;
  }
  return step;
}

void Session::set_rate(double factor) {
  if (!(factor >= 0 && factor - factor == 0)) {
    throw InvalidArgument("rate: expected a finite factor of at least 0, got " + std::to_string(factor));
  }
  rate_ = factor;
}

double Session::coverage() const {
  double seen = 0, all = 0;
  for (std::size_t i = 0; i < spec().layers.size(); ++i) {
    const LayerSpec& layer = spec().layers[i];
    if (!layer.trains_weight() || layer.shape.height * layer.shape.width == 1) continue;
    const auto weights = static_cast<double>(layer.shape.weights_per_channel());
    const Index visited = progress_.steps > 0 ? program_->visited(static_cast<int>(i)) : 0;
    seen += static_cast<double>(visited) * weights;
    all += static_cast<double>(layer.shape.in) * weights;
  }
  return all > 0 ? seen / all : 0;
}

AnyProgram& Session::attached() {
  require_attached();
  return *program_;
}

void Session::require_attached() const {
  if (!attached_) throw WrongState("session: attach was not called; it has no memory yet");
}

void Session::check(const Pixels& pixels, const std::int32_t* labels, Index n) const {
  require_attached();
  if (n < 1) throw InvalidArgument("n: expected at least one image, got " + std::to_string(n));
  if (labels == nullptr) throw InvalidArgument("labels: expected one for each image, got none");
  if (pixels.bytes != nullptr && table_.empty()) {
    throw InvalidArgument("pixels: this plan has no table for bytes; expected floating-point numbers");
  }
  for (Index i = 0; i < n; ++i) {
    if (labels[i] < 0 || labels[i] >= output_) {
      throw InvalidArgument("labels: expected 0 to " + std::to_string(output_ - 1) + ", got " +
                            std::to_string(labels[i]) + " for image " + std::to_string(i));
    }
  }
}

const float* Session::images(const Pixels& pixels, Index first, Index count) {
  if (pixels.numbers != nullptr) return pixels.numbers + first * input_;
  if (pixels.bytes == nullptr) throw InvalidArgument("pixels: expected images, got none");
  if (table_.empty())
    throw InvalidArgument("pixels: this plan has no table for bytes; expected floating-point numbers");
  const std::uint8_t* from = pixels.bytes + first * input_;
  const Index channels = static_cast<Index>(table_.size()) / 256;
  for (Index i = 0; i < count * input_; ++i)
    numbers_[i] = table_[static_cast<std::size_t>(i % channels * 256 + from[i])];
  return numbers_;
}

void Session::draw() {
  if (recipe_.sampling == Sampling::fixed && progress_.turn > 0) return;
  program_->draw_all(method(recipe_.sampling), recipe_.seed, progress_.turn);
}

// Of `images` images of a step of `of`: the schedule's rates, a smaller step's share of them, and the share of what is
// applied at once. Normalised parts add up like the steps of a random walk, so they take the roots of their shares.
void Session::set_rules(Index images, Index of) {
  double done = 1;
  if (recipe_.steps > 0) {
    const auto total = static_cast<double>(recipe_.steps);
    const double before = static_cast<double>(std::min(progress_.batches, recipe_.steps)) / total;
    const double after = static_cast<double>(std::min(progress_.batches + 1, recipe_.steps)) / total;
    done = (before + after) / 2;
  }
  const double full = recipe_.steps > 0 ? rate_factor(recipe_.schedule, done, recipe_.warmup) : 1;
  const double size = static_cast<double>(of) / static_cast<double>(recipe_.batch);
  const double part = static_cast<double>(images) / static_cast<double>(of);
  double* out = rules_.data();
  const auto put = [&](const ParameterRule& rule) {
    const double factor = full * (rule.normalise ? std::sqrt(size) : size);
    const double share = rule.normalise ? std::sqrt(part) : part;
    *out++ = rule.trains ? rule.rate * rate_ * factor * share : -1;
    *out++ = rule.weight_decay;
    *out++ = rule.momentum;
    *out++ = rule.normalise ? kSquareDecay : 0;
  };
  for (const LayerRule& layer : recipe_.rules) put(layer.weight), put(layer.bias), put(layer.shift);
}

std::uint64_t Session::dropout_key() const { return recipe_.dropout_seed * kSeedStep + progress_.forwards; }

}  // namespace sparsebp
