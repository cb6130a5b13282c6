// What ops that make one image of another, in other sides, know of both.
#pragma once

#include "program/op.h"

namespace sparsebp {

template <class T>
class OtherSides : public Op<T> {
 public:
  OtherSides(const OpSpec& op, const ProgramSpec& program)
      : Op<T>(op),
        in_(program.values[static_cast<std::size_t>(op.inputs[0])]),
        out_(program.values[static_cast<std::size_t>(op.output)]) {}

 protected:
  const ValueSpec in_, out_;
};

}  // namespace sparsebp
