// How parameters train, as whoever calls a program says it.
#pragma once

#include <vector>

#include "program/layer.h"

namespace sparsebp {

// Of one parameter. Nobody's parameter is left alone.
struct ParameterRule {
  bool trains = false;
  double rate = 0;
  double weight_decay = 0;
  double momentum = 0;
  bool normalise = false;  // the rate is divided by the root of the gradient's running mean square
};

struct LayerRule {
  ParameterRule weight, bias, shift;
};

// Throws InvalidArgument unless every layer has a rule of finite numbers; names the layer.
void check_rules(const ProgramSpec& spec, const std::vector<LayerRule>& rules);

template <class T>
void put_rules(const std::vector<LayerRule>& rules, std::vector<Layer<T>>& layers);

}  // namespace sparsebp
