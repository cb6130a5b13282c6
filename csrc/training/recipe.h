// How a program is trained, as plain data: rates, draws, schedule, and what a step is.
#pragma once

#include <cstdint>
#include <vector>

#include "program/rules.h"
#include "training/draws.h"

namespace sparsebp {

enum class Schedule : std::uint8_t { constant, linear, cosine };
constexpr int kSchedules = 3;

// The share of the full rate when the share `done` of a run is behind; it rises in a straight line while `done` is
// below `warmup`.
double rate_factor(Schedule schedule, double done, double warmup);

struct Recipe : Draws {
  std::vector<LayerRule> rules;  // by layer; rates are those of a whole batch, before the schedule
  Index batch = 1;               // images of a step; one of fewer takes its share of the rates
  Schedule schedule = Schedule::constant;
  double warmup = 0;
  std::uint64_t steps = 0;  // batches of the whole schedule; afterwards rates stay what they were at its end
  double label_smoothing = 0;
  double skip_above = 1;  // micro-batches recognised with more than this probability train nothing; 1: all train
};

// Throws InvalidArgument if a number is out of range.
void validate(const Recipe& recipe, std::size_t layers);

}  // namespace sparsebp
