// Checks a program's specification before anything is laid out. Throws InvalidArgument naming what is wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "program/spec.h"

namespace sparsebp {

void validate(const ProgramSpec& spec);
void check_channels(const LayerSpec& layer, const std::vector<std::int32_t>& channels);

}  // namespace sparsebp
