// Plan files made of a fuzzer's bytes.
#pragma once

#include <vector>

#include "choices.h"

namespace fuzz {

// A small plan file that opens, with weights, and sometimes with state, table and spare outputs; empty where the
// choices make no network that a session trains.
std::vector<unsigned char> make_plan_bytes(Choices& choices);

}  // namespace fuzz
