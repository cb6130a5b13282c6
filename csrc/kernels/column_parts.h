// Columns of a matrix that threads share in units: a part for each thread. Parts lie behind each other, each with its
// rows below each other. In whole rows the threads' columns would alternate, and fetching ahead would fetch what
// another thread is writing.
#pragma once

#include "core/shape.h"

namespace sparsebp {

struct ColumnParts {
  Index columns = 0, unit = 0;
  Index count = 0;  // zero: the rows are whole

  Index units() const { return (columns + unit - 1) / unit; }
  Index begin(Index part) const {
    const Index column = units() * part / count * unit;
    return column < columns ? column : columns;
  }
  Index width(Index part) const { return begin(part + 1) - begin(part); }
};

}  // namespace sparsebp
