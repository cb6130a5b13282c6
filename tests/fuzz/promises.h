// What has to hold of a program whatever it was asked.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "program/program.h"

namespace fuzz {

// Aborts, which a fuzzer takes for a find.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

// What a refused call leaves as it was.
struct Counters {
  std::size_t used = 0, peak = 0, work_used = 0;
  bool in_flight = false, memory = false;

  explicit Counters(sparsebp::AnyProgram& program)
      : in_flight(program.in_flight()), memory(program.arena() != nullptr) {
    if (!memory) return;
    used = program.arena()->used(), peak = program.arena()->peak(), work_used = program.workspace()->used();
  }
  bool operator==(const Counters& other) const {
    return used == other.used && peak == other.peak && work_used == other.work_used && in_flight == other.in_flight &&
           memory == other.memory;
  }
};

}  // namespace fuzz
