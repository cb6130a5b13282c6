#include "program/rules.h"

#include <cmath>
#include <string>

#include "core/error.h"

namespace sparsebp {
namespace {

void check_rule(const LayerSpec& layer, const char* parameter, const ParameterRule& rule) {
  if (std::isfinite(rule.rate) && std::isfinite(rule.weight_decay) && std::isfinite(rule.momentum)) return;
  throw InvalidArgument("rules: " + layer.name + ", " + parameter + ": expected finite numbers, got a rate of " +
                        std::to_string(rule.rate) + ", a weight decay of " + std::to_string(rule.weight_decay) +
                        ", a momentum of " + std::to_string(rule.momentum));
}

// A batch norm may lack its shift.
Rule rule_of(const ParameterRule& rule, const void* parameter) {
  const Sgd sgd{rule.rate, rule.weight_decay, rule.momentum};
  return {sgd, rule.normalise ? kSquareDecay : 0, rule.trains && parameter != nullptr, {}};
}

}  // namespace

void check_rules(const ProgramSpec& spec, const std::vector<LayerRule>& rules) {
  if (rules.size() != spec.layers.size()) {
    throw InvalidArgument("rules: expected one for each of " + std::to_string(spec.layers.size()) + " layers, got " +
                          std::to_string(rules.size()));
  }
  for (std::size_t i = 0; i < rules.size(); ++i) {
    check_rule(spec.layers[i], "weight", rules[i].weight);
    check_rule(spec.layers[i], "bias", rules[i].bias);
    check_rule(spec.layers[i], "shift", rules[i].shift);
  }
}

template <class T>
void put_rules(const std::vector<LayerRule>& rules, std::vector<Layer<T>>& layers) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    Layer<T>& layer = layers[i];
    layer.rules.weight = rule_of(rules[i].weight, layer.params.weight);
    layer.rules.bias = rule_of(rules[i].bias, layer.params.bias);
    layer.rules.beta = rule_of(rules[i].shift, layer.params.beta);
  }
}

template void put_rules<float>(const std::vector<LayerRule>&, std::vector<Layer<float>>&);
template void put_rules<double>(const std::vector<LayerRule>&, std::vector<Layer<double>>&);

}  // namespace sparsebp
