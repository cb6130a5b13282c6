// In a file of its own, so that no compiler can see through the call.
#include "measured.h"

extern "C" void measured(sparsebp::Case& one) { one.run(); }
