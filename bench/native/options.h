// The command line.
#pragma once

#include <string>

#include "core/shape.h"

namespace sparsebp {

struct Options {
  std::string kernel = "*";
  std::string layers = "*";
  std::string isa;  // empty: the best
  Index size = 224;
  Index batch = 1;
  std::string shapes = SPARSEBP_SHAPES;
  double ratio = 0.02;
  double seconds = 0.2;
  bool count = false;
  bool csv = false;
  bool help = false;
};

// Throws InvalidArgument with a message that names the option.
Options parse_options(int argc, char** argv);

// What --help prints.
std::string usage();

}  // namespace sparsebp
