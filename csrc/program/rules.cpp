#include "program/rules.h"

#include <algorithm>
#include <cmath>

#include "core/address.h"
#include "core/error.h"

namespace sparsebp {
namespace {

constexpr int kOfRule = kRuleNumbers / 3;

bool valid(const double* rule) {
  const bool finite = std::all_of(rule, rule + kOfRule, [](double x) { return std::isfinite(x); });
  return finite && rule[kOfRule - 1] >= 0 && rule[kOfRule - 1] < 1;
}

}  // namespace

void check_rules(const ProgramSpec& spec, const double* rules) {
  check_address("rules", rules, static_cast<Index>(spec.layers.size()) * kRuleNumbers, sizeof(double));
  constexpr const char* kParameters[] = {"weight", "bias", "shift"};
  for (const LayerSpec& layer : spec.layers) {
    for (const char* parameter : kParameters) {
      if (!valid(rules)) {
        std::string got;
        for (int i = 0; i < kOfRule; ++i) got += (i > 0 ? ", " : "") + std::to_string(rules[i]);
        throw InvalidArgument(std::string("rules: ") + layer.name + ", " + parameter +
                              ": expected finite numbers, the last from 0 to below 1, got " + got);
      }
      rules += kOfRule;
    }
  }
}

template <class T>
void read_rules(const double* rules, std::vector<Layer<T>>& layers) {
  const auto next = [&rules](const void* parameter) {
    // A batch norm may lack its shift.
    const Rule rule{{rules[0], rules[1], rules[2]}, rules[3], rules[0] >= 0 && parameter != nullptr, {}};
    rules += kOfRule;
    return rule;
  };
  for (Layer<T>& layer : layers) {
    layer.rules.weight = next(layer.params.weight);
    layer.rules.bias = next(layer.params.bias);
    layer.rules.beta = next(layer.params.beta);
  }
}

template void read_rules<float>(const double*, std::vector<Layer<float>>&);
template void read_rules<double>(const double*, std::vector<Layer<double>>&);

}  // namespace sparsebp
