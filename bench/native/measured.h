// The one function through which every measured call goes, for an instruction counter to look for.
#pragma once

#include "cases.h"

extern "C" [[gnu::noinline]] void measured(sparsebp::Case& one);
