// What is drawn at random while a program trains, and when.
#pragma once

#include <cstdint>

namespace sparsebp {

// Who is in an update set.
enum class Sampling : std::uint8_t {
  uniform,   // at random
  cyclic,    // in rounds
  weighted,  // at random, by the running gradient norm
  largest,   // the largest running gradient norms
  fixed,     // one set for ever
};
constexpr int kSamplings = 5;

struct Draws {
  Sampling sampling = Sampling::uniform;
  std::uint64_t seed = 0;            // of update sets
  std::uint64_t dropout_seed = 0;    // of what dropouts drop
  std::uint64_t resample_every = 1;  // steps from one draw of update sets to the next
};

}  // namespace sparsebp
