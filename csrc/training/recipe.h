// How a program is trained, as plain data: rates, draws, schedule, and what a step is.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/args.h"

namespace sparsebp {

// Of one parameter. Nobody's parameter is left alone.
struct ParameterRule {
  bool trains = false;
  double rate = 0;  // for a whole batch, before the schedule
  double weight_decay = 0;
  double momentum = 0;
  bool normalise = false;  // the rate is divided by the root of the gradient's running mean square
};

struct LayerRule {
  ParameterRule weight, bias, shift;
};

enum class Sampling : std::uint8_t {
  uniform,   // at random
  cyclic,    // in rounds
  weighted,  // at random, by the running gradient norm
  largest,   // the largest running gradient norms
  fixed,     // one set for ever
};
constexpr int kSamplings = 5;

enum class Schedule : std::uint8_t { constant, linear, cosine };
constexpr int kSchedules = 3;

// The share of the full rate when the share `done` of a run is behind; it rises in a straight line while `done` is
// below `warmup`.
double rate_factor(Schedule schedule, double done, double warmup);

struct Recipe {
  std::vector<LayerRule> rules;  // by layer
  Sampling sampling = Sampling::uniform;
  std::uint64_t seed = 0;  // of draws
  std::uint64_t dropout_seed = 0;
  std::uint64_t resample_every = 1;  // steps
  Index batch = 1;                   // images of a step; one of fewer takes its share of the rates
  Schedule schedule = Schedule::constant;
  double warmup = 0;
  std::uint64_t steps = 0;  // batches of the whole schedule; afterwards rates stay what they were at its end
  double label_smoothing = 0;
  double skip_above = 1;  // micro-batches recognised with more than this probability train nothing; 1: all train
};

// Throws InvalidArgument if a number is out of range.
void validate(const Recipe& recipe, std::size_t layers);

}  // namespace sparsebp
