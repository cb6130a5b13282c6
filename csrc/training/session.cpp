#include "training/session.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "spec/liveness.h"
#include "spec/validate.h"

namespace sparsebp {
namespace {

ProgramSpec with_loss(ProgramSpec spec) {
  spec.loss = true;
  return spec;
}

Index count_of(const ProgramSpec& spec, int value) { return spec.values[static_cast<std::size_t>(value)].count(); }

}  // namespace

Session::Session(ProgramSpec spec, Recipe recipe, std::vector<float> table, std::optional<Index> classes,
                 std::string isa)
    : recipe_(std::move(recipe)),
      table_(std::move(table)),
      isa_(std::move(isa)),
      program_(make_program(with_loss(std::move(spec)), isa_)) {
  const ProgramSpec& made = program_->spec();
  validate(recipe_, made.layers.size());
  trainer_ = std::make_unique<Trainer>(*program_, recipe_);
  for (const LayerRule& rule : recipe_.rules) {
    for (const ParameterRule* r : {&rule.weight, &rule.bias, &rule.shift}) {
      if (r->momentum > 0 && !made.momentum) throw InvalidArgument("recipe: this program reserves no momentum");
      if (r->normalise && !made.normalise) throw InvalidArgument("recipe: this program keeps no mean squares");
    }
  }
  end_of_prefix_ = end_of_prefix(made);
  input_ = count_of(made, made.input), output_ = count_of(made, made.output);
  features_ = count_of(made, made.ops[static_cast<std::size_t>(end_of_prefix_)].inputs[0]);
  const Index channels = made.values[static_cast<std::size_t>(made.input)].channels;
  if (!table_.empty() && static_cast<Index>(table_.size()) != 256 * channels) {
    throw InvalidArgument("table: expected 256 numbers for each of " + std::to_string(channels) + " channels, got " +
                          std::to_string(table_.size()));
  }
  if (made.values[static_cast<std::size_t>(made.output)].pixels() != 1) {
    throw InvalidArgument("session: expected a network that returns one number a class, not an image");
  }
  classes_ = classes.value_or(output_), classifier_ = sparsebp::classifier(made);
  if (classes_ < 1 || classes_ > output_) {
    throw InvalidArgument("classes: expected 1 to " + std::to_string(output_) + " of the outputs, got " +
                          std::to_string(classes_));
  }
  if (classes_ == output_) return;
  if (classifier_ < 0) throw InvalidArgument("classes: no layer of its own makes the outputs; none can be spare");
  check_spare(made.layers[static_cast<std::size_t>(classifier_)], output_ - classes_);
}

std::size_t Session::arena_bytes() const { return program_->training_layout().peak(); }

std::size_t Session::workspace_bytes() const {
  if (whole_step()) return 0;
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
    trainer_ = std::make_unique<Trainer>(*program_, recipe_);
  }
  program_->allocate(budget);
  if (whole_step()) {
    logits_ = static_cast<float*>(program_->output());
  } else if (given_) {
    const auto take = [&](Index count) {
      return reinterpret_cast<float*>(given_->allocate(static_cast<std::size_t>(count) * sizeof(float)));
    };
    numbers_ = take(spec().batch * input_), logits_ = take(spec().batch * output_);
  } else {
    own_input_.assign(static_cast<std::size_t>(spec().batch * input_), 0);
    own_logits_.assign(static_cast<std::size_t>(spec().batch * output_), 0);
    numbers_ = own_input_.data(), logits_ = own_logits_.data();
  }
  if (classes_ < output_) program_->set_spare(classifier_, output_ - classes_);
  attached_ = true;
  trainer_->draw();
}

void Session::add_class() {
  require_attached();
  if (classes_ == output_) {
    throw InvalidArgument("add_class: all " + std::to_string(output_) +
                          " outputs are classes; export the plan again with more spare_classes");
  }
  program_->set_spare(classifier_, output_ - classes_ - 1);
  ++classes_;
}

void Session::hold(std::uint64_t turn) {
  require_attached();
  trainer_->hold(turn);
}

Step Session::train(const Images& images, const std::int32_t* labels, Index n) {
  check(images, n);
  check_labels(labels, n, classes_);
  set_rules(n);
  const BatchSettings settings{recipe_.label_smoothing, recipe_.skip_above};
  return train_batch(*trainer_, entry(images), labels, n, classes_, settings, logits_,
                     [&](Index first, Index count) { return read(images, first, count); });
}

void Session::predict(const Images& images, Index n, float* logits) {
  check(images, n);
  for (Index first = 0; first < n; first += spec().batch) {
    const Index count = std::min(spec().batch, n - first);
    const PassInput in = read(images, first, count);
    if (classes_ == output_) {
      trainer_->infer(entry(images), ops(), in, logits + first * classes_, count, false);
      continue;
    }
    trainer_->infer(entry(images), ops(), in, logits_, count, false);
    for (Index i = 0; i < count; ++i) std::copy_n(logits_ + i * output_, classes_, logits + (first + i) * classes_);
  }
}

Step Session::evaluate(const Images& images, const std::int32_t* labels, Index n) {
  check(images, n);
  check_labels(labels, n, classes_);
  Step step;
  for (Index first = 0; first < n; first += spec().batch) {
    const Index count = std::min(spec().batch, n - first);
    trainer_->infer(entry(images), ops(), read(images, first, count), logits_, count, false);
    const Loss loss = cross_entropy<float>(logits_, labels + first, count, classes_, output_, 0, 1, 1, nullptr);
    step.loss += loss.mean * static_cast<double>(count) / static_cast<double>(n);
    step.correct += loss.correct;
  }
  return step;
}

void Session::features(const Images& images, Index n, float* out) {
  check(images, n);
  if (images.features != nullptr) throw InvalidArgument("images: expected pixels, got features");
  for (Index first = 0; first < n; first += spec().batch) {
    const Index count = std::min(spec().batch, n - first);
    float* made = out + first * features_;
    if (end_of_prefix_ > 0) {
      trainer_->infer(0, end_of_prefix_, read(images, first, count), made, count, false);
    } else if (images.reader != nullptr) {
      throw InvalidArgument("reader: nothing is frozen, so that features are pixels; give images in memory");
    } else if (images.numbers != nullptr) {
      std::copy_n(images.numbers + first * input_, count * input_, made);
    } else {
      to_numbers(images.bytes + first * input_, count, made);
    }
  }
}

void Session::set_rate(double factor) {
  if (!(factor >= 0 && factor - factor == 0)) {
    throw InvalidArgument("rate: expected a finite factor of at least 0, got " + std::to_string(factor));
  }
  rate_ = factor;
}

AnyProgram& Session::attached() {
  require_attached();
  return *program_;
}

void Session::require_attached() const {
  if (!attached_) throw WrongState("session: attach was not called; it has no memory yet");
}

void Session::check(const Images& images, Index n) const {
  require_attached();
  if (n < 0) throw InvalidArgument("n: expected at least 0, got " + std::to_string(n));
  if (images.numbers != nullptr || images.features != nullptr) return;
  if (images.bytes == nullptr && images.reader == nullptr) {
    throw InvalidArgument("images: expected pixels or features, got none");
  }
  if (images.reader != nullptr && !whole_step()) {
    throw InvalidArgument("reader: expected a plan whose budget covers the whole step; give images in memory");
  }
  if (images.bytes != nullptr && n > spec().batch && images.bytes == program_->pictures()) {
    throw InvalidArgument("n: the block has room for " + std::to_string(spec().batch) + " images at once, got " +
                          std::to_string(n));
  }
  if (table_.empty())
    throw InvalidArgument("pixels: this plan has no table for bytes; expected floating-point numbers");
}

PassInput Session::read(const Images& images, Index first, Index count) {
  if (images.features != nullptr) return images.features + first * features_;
  if (images.numbers != nullptr) return images.numbers + first * input_;
  if (!whole_step()) {
    to_numbers(images.bytes + first * input_, count, numbers_);
    return numbers_;
  }
  PassInput in;
  in.table = table_.data();
  if (images.bytes != nullptr) {
    in.bytes = images.bytes + first * input_;
  } else {
    in.reader = images.reader, in.reader_context = images.reader_context, in.first_image = first;
  }
  return in;
}

void Session::to_numbers(const std::uint8_t* bytes, Index count, float* out) const {
  const Index channels = static_cast<Index>(table_.size()) / 256;
  for (Index i = 0; i < count * input_; ++i) out[i] = table_[static_cast<std::size_t>(i % channels * 256 + bytes[i])];
}

// The schedule's rates for a step of `of` images, and a smaller step's share of them. Normalised parts add up like the
// steps of a random walk, so they take the root of theirs.
void Session::set_rules(Index of) {
  double full = 1;
  if (recipe_.steps > 0) {
    const auto total = static_cast<double>(recipe_.steps);
    const double before = static_cast<double>(std::min(progress().batches, recipe_.steps)) / total;
    const double after = static_cast<double>(std::min(progress().batches + 1, recipe_.steps)) / total;
    full = rate_factor(recipe_.schedule, (before + after) / 2, recipe_.warmup);
  }
  const double size = static_cast<double>(of) / static_cast<double>(recipe_.batch);
  std::vector<LayerRule>& rules = trainer_->rules();
  for (std::size_t i = 0; i < rules.size(); ++i) {
    rules[i] = recipe_.rules[i];
    for (ParameterRule* rule : {&rules[i].weight, &rules[i].bias, &rules[i].shift}) {
      rule->rate = rule->rate * rate_ * (full * (rule->normalise ? std::sqrt(size) : size));
    }
  }
}

}  // namespace sparsebp
