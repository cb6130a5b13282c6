// Checks a program's specification before anything is laid out. Throws InvalidArgument naming what is wrong, what was
// expected and what arrived. What passes can be computed with: see core/size_limits.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spec/program_spec.h"

namespace sparsebp {

void validate(const ProgramSpec& spec);

// Throws InvalidArgument unless so many output channels of the layer can be spare: not all of one without groups and
// batch norm.
void check_spare(const LayerSpec& layer, Index count);

// Parts of it: an op, whose values and layers are valid each by itself: do they exist, and fit together.
void validate_op(const ProgramSpec& spec, std::size_t index);
void check_channels(const LayerSpec& layer, const std::vector<std::int32_t>& channels);

}  // namespace sparsebp
