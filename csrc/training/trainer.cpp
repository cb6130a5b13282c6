#include "training/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace sparsebp {
namespace {

// Keeps the dropouts of different seeds apart; any odd number would do, this one is 2^64 divided by the golden ratio.
constexpr std::uint64_t kSeedStep = 0x9E3779B97F4A7C15ull;

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

}  // namespace

Trainer::Trainer(AnyProgram& program, const Draws& draws, DrawFunction draw)
    : program_(program),
      draw_(std::move(draw)),
      rules_(program.spec().layers.size()),
      shared_rules_(program.spec().layers.size()) {
  set_draws(draws);
}

void Trainer::set_draws(const Draws& draws) {
  if (draws.resample_every < 1) {
    throw InvalidArgument("resample_every: expected at least one step from one draw to the next, got 0");
  }
  const bool scored = draws.sampling == Sampling::weighted || draws.sampling == Sampling::largest;
  if (scored && !program_.spec().scores) throw InvalidArgument("sampling: this program keeps no scores to draw by");
  draws_ = draws;
}

void Trainer::draw() {
  if (draw_) return draw_(progress_.turn);
  if (draws_.sampling == Sampling::fixed && progress_.turn > 0) return;
  program_.draw_all(method(draws_.sampling), draws_.seed, progress_.turn);
}

void Trainer::hold(std::uint64_t turn) {
  if (draw_) throw InvalidArgument("hold: the sampler is the caller's own, and its draws no function of seed and turn");
  if (draws_.sampling == Sampling::weighted || draws_.sampling == Sampling::largest) {
    throw InvalidArgument(
        "hold: the draws of importance and top-k depend on what was trained, not on seed and turn alone; plan with the "
        "sampler random, cyclic or static");
  }
  progress_.turn = turn, progress_.due = false;
  draw();
  held_ = true;
}

void Trainer::draw_if_due() {
  if (!progress_.due) return;
  ++progress_.turn;
  try {
    draw();
  } catch (...) {  // a policy of the caller's
    --progress_.turn;
    throw;
  }
  progress_.due = false;
}

void Trainer::forward(int first, int last, const PassInput& in, void* out, Index images, bool drop) {
  draw_if_due();
  program_.forward(first, last, in, out, images, true, drop, dropout_key());
  progress_.forwards += stride_;
}

void Trainer::infer(int first, int last, const PassInput& in, void* out, Index images, bool drop) {
  program_.forward(first, last, in, out, images, false, drop, dropout_key());
  if (drop) progress_.forwards += stride_;
}

void Trainer::backward(const void* dy, void* dx, double share, bool keep) {
  program_.backward(dy, dx, rules_for(share), keep);
  progress_.pending = true;
}

void Trainer::prepare_replay(double share) {
  draw_if_due();
  program_.prepare_replay(rules_for(share), dropout_key());
  progress_.forwards += stride_;
}

void Trainer::replayed() {
  program_.replayed();
  progress_.pending = true;
}

void Trainer::finish_step(double share) {
  if (progress_.pending && program_.spec().sums) program_.apply(rules_for(share));
  ++progress_.batches;
  if (!progress_.pending) return;
  progress_.pending = false;
  ++progress_.steps;
  progress_.due = progress_.due || (!held_ && progress_.steps % draws_.resample_every == 0);
}

void Trainer::cancel_step() {
  if (progress_.pending && program_.spec().sums) {
    std::fill(shared_rules_.begin(), shared_rules_.end(), LayerRule());  // by which nothing trains
    program_.apply(shared_rules_);
  }
  progress_.pending = false;
}

double Trainer::coverage() const {
  const ProgramSpec& spec = program_.spec();
  double seen = 0, all = 0;
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    if (!layer.trains_weight() || layer.shape.height * layer.shape.width == 1) continue;
    const auto weights = static_cast<double>(layer.shape.weights_per_channel());
    const Index visited = progress_.steps > 0 ? program_.visited(static_cast<int>(i)) : 0;
    seen += static_cast<double>(visited) * weights;
    all += static_cast<double>(layer.shape.in) * weights;
  }
  return all > 0 ? seen / all : 0;
}

std::uint64_t Trainer::dropout_key() const { return draws_.dropout_seed * kSeedStep + progress_.forwards; }

// Parts of a step that are applied one by one add up; normalised ones like the steps of a random walk, so they take the
// root of their share.
const std::vector<LayerRule>& Trainer::rules_for(double share) {
  const double root = std::sqrt(share);
  const auto of_share = [&](ParameterRule rule) {
    rule.rate *= rule.normalise ? root : share;
    return rule;
  };
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    shared_rules_[i] = {of_share(rules_[i].weight), of_share(rules_[i].bias), of_share(rules_[i].shift)};
  }
  return shared_rules_;
}

}  // namespace sparsebp
