// What a forward pass may be asked for: which ops, on how many images, from and to where.
#pragma once

#include <vector>

#include "program/input.h"

namespace sparsebp {

// Of one program, whose spec outlives it. All throw InvalidArgument.
class PassCheck {
 public:
  PassCheck(const ProgramSpec& spec, std::size_t element);

  // Ops [first, last); one that is followed by a backward pass goes through the whole span.
  void range(int first, int last, Index images, bool save) const;
  void addresses(int first, int last, const PassInput& in, const void* out, Index images) const;
  // That of `images` images of a value.
  void value(const char* what, const void* address, int value, Index images) const;

 private:
  const OpSpec& op(int i) const { return spec_.ops[static_cast<std::size_t>(i)]; }
  void whole_streams(int first, int last) const;
  void one_way_in(int first, int last) const;
  void input(int first, const PassInput& in, Index images) const;

  const ProgramSpec& spec_;
  const std::size_t element_;
  const std::vector<int> producer_;  // of values; -1: the caller
};

}  // namespace sparsebp
