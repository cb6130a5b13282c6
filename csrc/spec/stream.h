// In which order a stream makes its rows, and how many of them it holds at once.
#pragma once

#include <algorithm>
#include <vector>

#include "spec/program_spec.h"

namespace sparsebp {

// Can an op of this kind make its output some rows at a time.
bool makes_rows(OpKind kind);

// The window of rows that an op of a stream moves over its input.
ConvShape window_of(const ProgramSpec& spec, const OpSpec& op);

// Does a stream read images row by row: the one at the head of a program, if nobody else reads them.
bool reads_images(const ProgramSpec& spec, const StreamSpec& stream);

// One image's way through a stream. Each op holds the rows of its input that its next window reaches: of what comes
// from outside only in a stream that reads images, elsewhere that exists whole.
class StreamWalk {
 public:
  StreamWalk(const ProgramSpec& spec, const StreamSpec& stream);

  int size() const { return static_cast<int>(windows_.size()); }  // ops
  bool holds(int op) const { return op > 0 || holds_first_; }     // its input's rows
  const ConvShape& window(int op) const { return windows_[static_cast<std::size_t>(op)]; }
  // The rows of its input that an op holds just now.
  Range held(int op) const { return held_[static_cast<std::size_t>(op)]; }

  // Ops are counted from the stream's first. Calls, in order,
  //   visit.drop(op, held, begin)  of the rows `held` of its input those before `begin` are needed no more;
  //   visit.read(held, rows)       the first op's input rows `rows` are wanted behind those held;
  //   visit.make(op, held, out)    its output rows `out` can be made, and go to the next op's input.
  template <class Visit>
  void run(Visit& visit) {
    std::fill(held_.begin(), held_.end(), Range{0, 0});
    const int last = size() - 1;
    for (Index begin = 0; begin < window(last).out_height;) {
      const Index end = std::min(begin + rows_.back(), window(last).out_height);
      make(visit, last, {begin, end});
      begin = end;
    }
  }

 private:
  template <class Visit>
  void make(Visit& visit, int op, Range out) {
    Range& held = held_[static_cast<std::size_t>(op)];
    if (!holds(op)) {
      visit.make(op, Range{0, window(op).height}, out);
      return;
    }
    Range needed = reached_rows(window(op), out);
    if (residual_[static_cast<std::size_t>(op)] != 0) {  // adds its input's rows, which strange windows do not reach
      needed = {std::min(needed.begin, out.begin), std::max(needed.end, out.end)};
    }
    if (needed.begin > held.begin) {
      visit.drop(op, held, needed.begin);
      held = {needed.begin, std::max(held.end, needed.begin)};
    }
    while (held.end < needed.end) {
      Range more{held.end, needed.end};
      if (op == 0) {
        visit.read(held, more);
      } else {
        more.end = std::min(more.end, more.begin + rows_[static_cast<std::size_t>(op) - 1]);
        make(visit, op - 1, more);
      }
      held.end = more.end;
    }
    visit.make(op, held, out);
  }

  std::vector<ConvShape> windows_;
  std::vector<char> residual_;
  std::vector<Index> rows_;  // that an op makes at once
  std::vector<Range> held_;
  bool holds_first_;
};

// The most rows that an op of a stream holds of its input, that its windows reach, and that it makes at once.
struct StreamRows {
  Index held = 0, reached = 0, made = 0;
};

// By op of the stream.
std::vector<StreamRows> stream_rows(StreamWalk& walk);

// By op of the program: the index of its stream, or -1.
std::vector<int> stream_of_ops(const ProgramSpec& spec);

}  // namespace sparsebp
