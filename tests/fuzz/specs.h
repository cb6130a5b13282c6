// A program's specification from a fuzzer's bytes.
#pragma once

#include "choices.h"
#include "spec/program_spec.h"

namespace fuzz {

// A few ops that hang together: valid, where their sizes are small.
struct Made {
  sparsebp::ProgramSpec spec;
  bool huge = false;
};
Made make_spec(Choices& choices);

// Lets some of it run in pieces, its prefix as streams, and the whole step in one block.
void make_pieces(sparsebp::ProgramSpec& spec, Choices& choices);

// Puts something else in the place of some numbers, ids, ops, layers or values.
void spoil(sparsebp::ProgramSpec& spec, Choices& choices);

// Multiply-adds of a forward pass, about: what is too much for a fuzzer is not run.
double work(const sparsebp::ProgramSpec& spec);

}  // namespace fuzz
