#include "training/recipe.h"

#include <cmath>
#include <string>

#include "core/error.h"

namespace sparsebp {
namespace {

constexpr double kPi = 3.14159265358979323846;

void require(bool good, const char* what) {
  if (!good) throw InvalidArgument(std::string("recipe: ") + what);
}

void check(const ParameterRule& rule) {
  const auto sensible = [](double value) { return value >= 0 && value - value == 0; };
  require(sensible(rule.rate), "expected finite learning rates of at least 0");
  require(sensible(rule.weight_decay), "expected finite weight decays of at least 0");
  require(rule.momentum >= 0 && rule.momentum < 1, "expected momenta from 0 to below 1");
}

}  // namespace

double rate_factor(Schedule schedule, double done, double warmup) {
  if (done < warmup) return done / warmup;
  const double rest = (done - warmup) / (1 - warmup);
  switch (schedule) {
    case Schedule::linear:
      return 1 - rest;
    case Schedule::cosine:
      return (1 + std::cos(kPi * rest)) / 2;
    default:
      return 1;
  }
}

void validate(const Recipe& recipe, std::size_t layers) {
  require(recipe.rules.size() == layers, "expected rules for every layer of the program");
  for (const LayerRule& rule : recipe.rules) check(rule.weight), check(rule.bias), check(rule.shift);
  require(recipe.resample_every >= 1, "expected at least one step from one draw to the next");
  require(recipe.batch >= 1, "expected at least one image in a step");
  require(recipe.warmup >= 0 && recipe.warmup < 1, "expected a warm-up from 0 to below 1");
  require(recipe.label_smoothing >= 0 && recipe.label_smoothing <= 1, "expected a label smoothing from 0 to 1");
  require(recipe.skip_above > 0 && recipe.skip_above <= 1, "expected a skip threshold above 0, at most 1");
}

}  // namespace sparsebp
