// Dense products, split over threads along the elements that they make, so that results do not depend on the number of
// threads.
#pragma once

#include <algorithm>

#include "platform/parallel.h"
#include "program/context.h"

namespace sparsebp {

// Columns that a unit of work makes: the kernels' widest tile, a tenth faster than two tiles of a panel each, or a
// panel where threads would wait for each other. Each unit is there `runs` times.
template <class T>
Index unit_columns(const Kernels<T>& kernels, Index columns, Index runs = 1) {
  if (kernels.tile_columns == kPanel) return kPanel;
  const Index panels = runs * div_up(columns, kPanel), pairs = runs * div_up(columns, kPair);
  const Index threads = thread_count();
  return threads == 1 || 9 * div_up(pairs, threads) <= 5 * div_up(panels, threads) ? kPair : kPanel;
}

// Rows of a product that one unit makes: enough to use a panel of weights from the first-level cache many times, and
// few enough that threads have several; whole tiles of rows.
inline Index rows_of_a_unit(Index rows) {
  constexpr Index kMost = 96, kTile = 12;
  const Index threads = thread_count(), units = std::max(div_up(rows, kMost), threads > 1 ? 3 * threads : 1);
  return div_up(div_up(rows, units), kTile) * kTile;
}

// So many columns in units, a part for each thread; one for all of them, in whole rows, if there is one thread.
template <class T>
ColumnParts column_parts(const Kernels<T>& kernels, Index columns) {
  const Index unit = unit_columns(kernels, columns), parts = std::min<Index>(thread_count(), div_up(columns, unit));
  return {columns, unit, parts > 1 ? parts : 0};
}

// Calls body(part, column, count) for units that cover them.
template <class Body>
void for_columns(const ColumnParts& parts, Index panel_work, const Body& body) {
  parallel_for(parts.units(), panel_work * (parts.unit / kPanel), [&](Index i) {
    const Index column = i * parts.unit;
    Index part = 0;
    while (part + 1 < parts.count && column >= parts.begin(part + 1)) ++part;
    body(part, column, std::min(parts.unit, parts.columns - column));
  });
}

// Calls body(column, count) for units that cover `columns`. `panel_work`: about how many multiply-adds a panel costs.
template <class T, class Body>
void for_columns(const Kernels<T>& kernels, Index columns, Index panel_work, const Body& body) {
  const Index unit = unit_columns(kernels, columns);
  parallel_for(div_up(columns, unit), panel_work * (unit / kPanel),
               [&](Index i) { body(i * unit, std::min(unit, columns - i * unit)); });
}

// The part of a product that makes `count` columns from `col` on, a multiple of 8; b's panels and bits lie side by
// side.
template <class T>
GemmArgs<T> columns_of(GemmArgs<T> args, Index col, Index count) {
  args.cols = count;
  args.b += col, args.c += col;
  Affine<T>& affine = args.affine;
  if (affine.scale != nullptr) affine.scale += col;
  if (affine.shift != nullptr) affine.shift += col;
  if (affine.residual != nullptr) affine.residual += col;
  if (affine.mask != nullptr) affine.mask += col / 8;
  return args;
}

// A product of up to kPair columns from channel `c` of `channels` on, with their bits panel after panel: `bits` is
// where those of c's panel begin, of `pixels` rows, the product's first being row `first`. Null: none are wanted.
template <class T>
void gemm_with_panel_bits(const Kernels<T>& kernels, const GemmArgs<T>& args, std::uint8_t* bits, Index pixels,
                          Index first, Index channels, Index c);

// c (rows x cols) from a (rows x k) and b (k x cols), in units of a run of rows and some columns.
template <class T>
void parallel_gemm(const Kernels<T>& kernels, const GemmArgs<T>& args);

}  // namespace sparsebp
