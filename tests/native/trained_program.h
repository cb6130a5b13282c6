// A program that trains, with whatever it needs for it.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/random.h"
#include "platform/memory.h"
#include "program_cases.h"

namespace sparsebp {

// A program with its own weights, an input and a target: draw, forward, backward, and apply where gradients are summed.
class TrainedProgram {
 public:
  TrainedProgram(ProgramSpec spec, const Options& options, const std::string& isa = "", std::size_t spare = 0)
      : TrainedProgram(make_program(std::move(spec), false, isa), options, host_memory(), spare) {}
  // Parameters and activations lie in `memory`, which is the program's.
  TrainedProgram(std::unique_ptr<AnyProgram> own, const Options& options, Memory& memory, std::size_t spare = 0)
      : program(std::move(own)), options_(options), memory_(memory) {
    program->allocate(program->training_layout().peak() + spare);
    const ProgramSpec& s = program->spec();
    params_.resize(s.layers.size());
    for (std::size_t l = 0; l < s.layers.size(); ++l) bind(static_cast<int>(l), s.layers[l], params_[l]);
    x_ = numbers(s.batch * s.values[static_cast<std::size_t>(s.input)].count(), 1, 0);
    target_ = numbers(s.batch * s.values[static_cast<std::size_t>(s.output)].count(), 1, 0);
    y_.resize(target_.size()), dy_.resize(target_.size());
    if (s.input_grad) dx_.resize(x_.size());
    for (auto* numbers : {&x_, &y_, &dy_, &dx_}) place(*numbers);
  }
  ~TrainedProgram() {
    for (const auto& [numbers, block] : placed_) memory_.free(block);
  }
  TrainedProgram(const TrainedProgram&) = delete;
  TrainedProgram& operator=(const TrainedProgram&) = delete;

  void draw(std::uint64_t turn) {
    for (std::size_t l = 0; l < params_.size(); ++l) program->draw(static_cast<int>(l), options_.draw, 17, turn);
  }
  void forward(std::uint64_t turn) {
    const ProgramSpec& s = program->spec();
    program->forward(0, static_cast<int>(s.ops.size()), at(x_), at(y_), s.batch, true, true, mix64(turn));
  }
  // Runs the first `images` images without saving anything; what it computes is dropped.
  void infer(Index images, bool dropout) {
    std::vector<float> y(y_.size());  // of this processor's memory: inference is not tried elsewhere
    const int last = static_cast<int>(program->spec().ops.size());
    program->forward(0, last, at(x_), y.data(), images, false, dropout, 99);
  }
  // A tenth of how far the output is from a target.
  void find_output_grad() {
    fetch(y_);
    for (std::size_t i = 0; i < y_.size(); ++i) dy_[i] = 0.1f * (y_[i] - target_[i]);
    if (!placed_.empty()) memory_.write(at(dy_), dy_.data(), dy_.size() * sizeof(float));
  }
  // On this processor, to be changed before the forward pass, and before pass_back.
  std::vector<float>& input() { return x_; }
  std::vector<float>& output_grad() { return dy_; }
  void pass_back() { program->backward(at(dy_), at(dx_), rules_, false); }
  void backward() {
    find_output_grad();
    pass_back();
  }
  void prepare_replay(std::uint64_t turn) { program->prepare_replay(rules_, mix64(turn)); }
  void apply() {
    if (options_.sums) program->apply(rules_);
  }
  void step(std::uint64_t turn) {
    draw(turn);
    forward(turn);
    backward();
    if (turn % 2 == 1) apply();
  }

  // Everything that training changes or computes, to compare bit by bit.
  std::vector<std::vector<float>> outcome() {
    for (auto* numbers : {&y_, &dx_}) fetch(*numbers);
    std::vector<std::vector<float>> all = {y_, dx_};
    for (Params& p : params_) {
      for (auto* numbers : {&p.weight, &p.bias, &p.beta}) fetch(*numbers);
      all.insert(all.end(), {p.weight, p.bias, p.beta});
    }
    return all;
  }

  std::unique_ptr<AnyProgram> program;

 private:
  struct Params {
    std::vector<float> weight, bias, gamma, beta, mean, var;
  };

  void bind(int index, const LayerSpec& layer, Params& p) {
    const ConvShape& s = layer.shape;
    const Index vector = layer.shared ? 1 : s.out;
    if (layer.has_weight()) {
      p.weight = numbers(s.weights(), std::sqrt(6.0 / static_cast<double>(s.taps() * s.in_per_group())), 0);
    }
    if (layer.has_bias) p.bias = numbers(vector, 0.1, 0);
    if (layer.has_scale()) p.gamma = numbers(vector, 0.2, 1);
    if (layer.has_norm) {
      p.beta = numbers(s.out, 0.2, 0.1);
      p.mean = numbers(s.out, 0.1, 0), p.var = numbers(s.out, 0.2, 1);
    }
    for (auto* numbers : {&p.weight, &p.bias, &p.gamma, &p.beta, &p.mean, &p.var}) place(*numbers);
    program->bind(index, {at(p.weight), at(p.bias), at(p.gamma), at(p.beta), at(p.mean), at(p.var)});
    // In place normalised steps only measure for 16 passes; of sums the first is a step.
    const ParameterRule rule{true, 0.02, 1e-4, options_.momentum ? 0.9 : 0, options_.normalise};
    rules_.push_back({rule, rule, rule});
  }

  // Where the program finds the numbers: themselves, or their copy in another memory.
  void place(const std::vector<float>& numbers) {
    if (&memory_ == &host_memory() || numbers.empty()) return;
    std::byte* block = memory_.allocate(numbers.size() * sizeof(float));
    memory_.write(block, numbers.data(), numbers.size() * sizeof(float));
    placed_.emplace_back(&numbers, block);
  }
  float* at(std::vector<float>& numbers) {
    for (const auto& [own, block] : placed_) {
      if (own == &numbers) return reinterpret_cast<float*>(block);
    }
    return numbers.empty() ? nullptr : numbers.data();
  }
  void fetch(std::vector<float>& numbers) {
    if (!placed_.empty() && !numbers.empty()) memory_.read(numbers.data(), at(numbers), numbers.size() * sizeof(float));
  }

  std::vector<float> numbers(Index count, double spread, double middle) {
    std::vector<float> out(static_cast<std::size_t>(count));
    for (float& x : out) x = static_cast<float>(middle + spread * (2 * random_unit(5, counter_++) - 1));
    return out;
  }

  Options options_;
  Memory& memory_;
  std::vector<std::pair<const std::vector<float>*, std::byte*>> placed_;
  std::vector<Params> params_;
  std::vector<float> x_, y_, target_, dy_, dx_;
  std::vector<LayerRule> rules_;
  std::uint64_t counter_ = 0;
};

}  // namespace sparsebp
