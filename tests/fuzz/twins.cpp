#include "twins.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "images.h"

namespace fuzz {

using namespace sparsebp;

namespace {

template <class T>
class Twin {
 public:
  Twin(ProgramSpec spec, const std::string& isa)
      : program_(make_program(std::move(spec), sizeof(T) == sizeof(double), isa)),
        images_(own().values[static_cast<std::size_t>(own().input)], own().batch),
        x_(images_.template numbers<T>()),
        dx_(x_.size()) {
    program_->allocate(program_->training_layout().peak());
    std::size_t output = static_cast<std::size_t>(own().values[static_cast<std::size_t>(own().output)].count());
    y_.resize(output * static_cast<std::size_t>(own().batch));
    for (std::size_t l = 0; l < own().layers.size(); ++l) {
      const LayerSpec& layer = own().layers[l];
      const Index out = layer.shape.out, vector = layer.shared ? 1 : out;
      RawParams p{};
      if (layer.has_weight()) p.weight = numbers(layer.shape.weights(), -0.5);
      if (layer.has_bias) p.bias = numbers(vector, -0.5);
      if (layer.has_scale()) p.gamma = numbers(vector, 0.5);
      if (layer.has_norm) p.beta = numbers(out, 0), p.mean = numbers(out, -0.5), p.var = numbers(out, 0.5);
      program_->bind(static_cast<int>(l), p);
    }
    const ParameterRule rule{true, 1e-3, 1e-4, own().momentum ? 0.5 : 0, own().normalise};
    rules_.assign(own().layers.size(), {rule, rule, rule});
  }

  void step(std::uint64_t turn) {
    program_->draw_all(Draw::uniform, 7, turn);
    run(true, own().batch, turn);
    for (T& y : y_) y *= T(0.01);
    if (!all_finite()) return program_->discard();
    program_->backward(y_.data(), dx_.data(), rules_, false);
    if (own().sums) program_->apply(rules_);
    run(false, own().batch - 1, turn);
  }

  void require_same(const Twin& other) const {
    bool same = alike(y_, other.y_) && alike(dx_, other.dx_);
    for (std::size_t i = 0; i < params_.size(); ++i) same = same && alike(params_[i], other.params_[i]);
    require(same, "pieces change no bit");
    require(program_->arena()->peak() <= program_->training_layout().peak(), "a peak is within the planned one");
  }

 private:
  const ProgramSpec& own() const { return program_->spec(); }
  void run(bool save, Index images, std::uint64_t turn) {
    PassInput in(x_.data());
    if (own().scope == Scope::step && turn % 2 == 0) in = images_.bytes();
    if (own().scope == Scope::step && turn % 3 == 1) in = images_.rows(Index{1} << 40);
    program_->forward(0, static_cast<int>(own().ops.size()), in, y_.data(), images, save, true, turn);
  }
  bool all_finite() const {
    for (T y : y_) {
      if (!(std::abs(y) <= std::numeric_limits<T>::max())) return false;
    }
    return true;
  }
  T* numbers(Index count, double least) {
    params_.emplace_back(static_cast<std::size_t>(count));
    for (T& x : params_.back()) x = static_cast<T>(least + random_unit(9, drawn_++));
    return params_.back().data();
  }
  static bool alike(const std::vector<T>& a, const std::vector<T>& b) {
    return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
  }

  std::unique_ptr<AnyProgram> program_;
  Images images_;
  std::vector<T> x_, y_, dx_;
  std::vector<std::vector<T>> params_;
  std::vector<LayerRule> rules_;
  std::uint64_t drawn_ = 0;
};

template <class T>
void compare(const ProgramSpec& spec, const std::string& isa) {
  ProgramSpec plain = spec;
  plain.scope = Scope::training, plain.pictures = false, plain.streams.clear();
  for (OpSpec& op : plain.ops) op.forward_rows = op.forward_block = 0, op.keep = Keep::masks;
  ProgramSpec exact = spec;
  for (OpSpec& op : exact.ops) op.keep = std::min(op.keep, Keep::input);  // 8 bits round
  Twin<T> own(exact, isa), twin(plain, isa);
  for (std::uint64_t turn = 0; turn < 2; ++turn) own.step(turn), twin.step(turn);
  own.require_same(twin);
}

}  // namespace

void compare_with_twin(const ProgramSpec& spec, bool float64, const std::string& isa) {
  if (float64) {
    compare<double>(spec, isa);
  } else {
    compare<float>(spec, isa);
  }
}

}  // namespace fuzz
