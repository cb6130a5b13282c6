// Parameters that share one rule, as optimizers have them in groups.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "training/trainer.h"

namespace sparsebp {

// A parameter of a layer: 0 its weight, 1 its bias, 2 the shift of its batch norm.
struct Place {
  int layer, parameter;
};

class RuleGroup {
 public:
  // Throws InvalidArgument for a place that the trainer's program does not have. The trainer must outlive the group.
  RuleGroup(Trainer& trainer, const std::vector<Place>& places) {
    std::vector<LayerRule>& rules = trainer.rules();
    for (const Place& place : places) {
      if (place.layer < 0 || static_cast<std::size_t>(place.layer) >= rules.size() || place.parameter < 0 ||
          place.parameter > 2) {
        throw InvalidArgument("places: expected layers below " + std::to_string(rules.size()) +
                              " and parameters 0 to 2, got layer " + std::to_string(place.layer) + ", parameter " +
                              std::to_string(place.parameter));
      }
      LayerRule& layer = rules[static_cast<std::size_t>(place.layer)];
      ParameterRule* const all[] = {&layer.weight, &layer.bias, &layer.shift};
      rules_.push_back(all[place.parameter]);
    }
  }

  void set(const ParameterRule& rule) {
    for (ParameterRule* own : rules_) *own = rule;
  }

 private:
  std::vector<ParameterRule*> rules_;
};

}  // namespace sparsebp
