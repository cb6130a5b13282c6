// The numbers by which an optimizer says how parameters train.
#pragma once

#include "program/layer.h"

namespace sparsebp {

// The rules of a layer's weight, bias and batch-norm shift, in this order: learning rate, weight decay, momentum, decay
// of the mean square that divides the rate (0: none does). A negative learning rate means that no optimizer owns the
// parameter.
constexpr int kRuleNumbers = 12;

// `rules` are kRuleNumbers for every layer. Throws InvalidArgument, naming the layer, for a number that is not finite
// or a decay of mean squares outside [0, 1).
void check_rules(const ProgramSpec& spec, const double* rules);

template <class T>
void read_rules(const double* rules, std::vector<Layer<T>>& layers);

}  // namespace sparsebp
