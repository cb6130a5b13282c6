// How many inputs and layers an op of each kind has.
#pragma once

#include <string>

#include "spec/program_spec.h"

namespace sparsebp {

constexpr std::size_t kAnyNumber = 0;  // of inputs, from one on

struct OpForm {
  const char* name;
  std::size_t inputs, least_layers, most_layers;
  LayerKind layers = LayerKind::convolution;
};

// Throws InvalidArgument, naming the op, for a kind that there is not.
OpForm form_of(const std::string& name, OpKind kind);

}  // namespace sparsebp
