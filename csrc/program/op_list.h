// The ops of a program, made and laid out: run one after the other, or as streams.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "platform/sharing.h"
#include "program/device.h"
#include "program/squared_norms.h"
#include "program/stream.h"
#include "program/value_buffers.h"

namespace sparsebp {

template <class T>
class OpList {
 public:
  // Declares all that the ops acquire.
  void lay_out(const ProgramSpec& spec, Device<T>& device, Context<T>& context, const ValueBuffers<T>& values,
               SquaredNormBuffers<T>& squared_norms);

  int size() const { return static_cast<int>(ops_.size()); }
  // For messages.
  const char* name(int op) const { return names_[static_cast<std::size_t>(op)].c_str(); }
  // The op behind `op`, or behind the stream that begins with it.
  int after(int op) const;

  // From `op` to after(op); the values of both ends are set.
  void forward(int op, Context<T>& context, const InputBuffers<T>& input);
  void backward(int op, Context<T>& context) {
    const auto i = static_cast<std::size_t>(op);
    if (op + 1 == size()) sharing_.begin_turn();  // a pass goes from the last op to the first
    sharing_.run(i, context.images, [&] { ops_[i]->backward(context); });
  }

 private:
  std::vector<std::unique_ptr<Op<T>>> ops_;
  Sharing sharing_;  // of the backward passes
  std::vector<std::string> names_;
  std::vector<Stream<T>> streams_;
  std::vector<int> stream_of_op_;
};

}  // namespace sparsebp
