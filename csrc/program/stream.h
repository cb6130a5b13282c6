// Runs ops of the frozen prefix depth first, in the order of spec/stream.h: a prefix then costs rows, not images.
//
// A number is computed from the same terms in the same order as where each op makes its output whole.
#pragma once

#include <memory>
#include <vector>

#include "program/input.h"
#include "program/op.h"

namespace sparsebp {

template <class T>
class Stream {
 public:
  Stream(const ProgramSpec& spec, const StreamSpec& stream);

  int first() const { return first_; }
  int last() const { return first_ + walk_.size(); }
  StreamRows rows(int op) const { return rows_[static_cast<std::size_t>(op - first_)]; }

  void declare(Context<T>& context, const ProgramSpec& spec);
  // Makes the last op's value of this pass from the first one's.
  void forward(Context<T>& context, const std::vector<std::unique_ptr<Op<T>>>& ops, const InputBuffers<T>& input);

 private:
  // What an op holds of its input.
  struct Held {
    int buffer;
    Index row;  // numbers
    T* data;
  };

  struct Pass;

  const int first_;
  StreamWalk walk_;
  std::vector<StreamRows> rows_;
  std::vector<Held> held_;
  int source_ = 0, result_ = 0;                // values
  Index source_count_ = 0, result_count_ = 0;  // numbers of one image
};

}  // namespace sparsebp
