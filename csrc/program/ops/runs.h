// Elements of tensors, shared among threads.
#pragma once

#include <algorithm>

#include "platform/parallel.h"
#include "program/context.h"

namespace sparsebp {

constexpr Index kRun = 4096;  // elements of one unit

// Calls `body(first, count)` on runs that cover [0, count).
template <class Body>
void parallel_spans(Index count, Index work, const Body& body) {
  parallel_for(div_up(count, kRun), kRun * work,
               [&](Index unit) { body(unit * kRun, std::min(kRun, count - unit * kRun)); });
}

// Calls `body(i)` for each of them.
template <class Body>
void parallel_runs(Index count, const Body& body) {
  parallel_spans(count, 1, [&](Index first, Index length) {
    for (Index i = first; i < first + length; ++i) body(i);
  });
}

template <class T>
void put(T& out, T value, bool accumulate) {
  out = accumulate ? out + value : value;
}

}  // namespace sparsebp
