// What the numbers of a convolution or a pooling must fulfil before anything is computed from them. What passes here
// can be multiplied and added without a thought: every product that an op or a kernel makes of it fits an Index.
#pragma once

#include <string>

#include "core/shape.h"

namespace sparsebp {

// Of one height, width, number of channels, kernel, stride, padding or dilation: channels are counted in 32 bits.
constexpr Index kMostSize = INT32_MAX;
// Numbers in one tensor, for a whole batch, border included: a million gigabytes, and a factor of 2^15 to the end of
// an Index, for bytes, panels and strides.
constexpr Index kMostNumbers = Index{1} << 48;
// Multiply-adds of one op in one pass: years.
constexpr Index kMostWork = Index{1} << 60;

// All of these throw InvalidArgument, naming `of`, what was expected and what arrived.

void check_size(const std::string& of, const char* name, Index value, Index least, Index most = kMostSize);

// Sizes and groups, output sizes that the rest allows, and that `batch` images are not beyond measure.
void check_convolution(const std::string& of, const ConvShape& shape, Index batch);
// A transposed convolution makes what a convolution of the same window would read.
void check_transposed(const std::string& of, const ConvShape& shape, Index batch);
// Averages do not dilate.
void check_pooling(const std::string& of, const ConvShape& window, Index batch, bool dilates);

// Of a tensor of `batch` images.
void check_tensor(const std::string& of, Index height, Index width, Index channels, Index batch);

}  // namespace sparsebp
