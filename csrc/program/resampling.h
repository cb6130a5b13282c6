// Which pixels of a side a pixel of another side is made of, as torch counts.
#pragma once

#include "core/shape.h"
#include "spec/program_spec.h"

namespace sparsebp {

// Two neighbours, of which the second counts by `share` and the first by the rest.
template <class T>
struct Neighbours {
  Index first, second;
  T share;
};

// `scale`: how much larger the side becomes, where it was given; 0: as the sides say.
template <class T>
SPARSEBP_INLINE Neighbours<T> neighbours_of(Resampling how, Index i, Index out, Index in, double scale) {
  if (how == Resampling::nearest) {
    Index first = i * in / out;
    // As torch does: a product in T, rounded to float32 before it is cut.
    if (scale > 0) first = static_cast<Index>(static_cast<float>(static_cast<T>(i) * static_cast<T>(1 / scale)));
    if (first > in - 1) first = in - 1;
    return {first, first, T(0)};
  }
  double place;
  if (how == Resampling::linear_corners) {
    place = out > 1 ? static_cast<double>(i) * static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
  } else {
    const double middle = static_cast<double>(i) + 0.5;
    place = (scale > 0 ? middle / scale : middle * static_cast<double>(in) / static_cast<double>(out)) - 0.5;
    if (place < 0) place = 0;
  }
  Index first = static_cast<Index>(place);
  if (first > in - 1) first = in - 1;
  const Index second = first + 1 < in ? first + 1 : first;
  return {first, second, static_cast<T>(place - static_cast<double>(first))};
}

}  // namespace sparsebp
