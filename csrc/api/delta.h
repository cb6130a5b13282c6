// A delta: what of a plan file has changed, as a safetensors file of its own. With its base it gives the file that
// would have been saved instead, bit by bit.
//
// It holds the training state, shifts, biases and whole weights that trained, under their names in the plan file; where
// classes were added their names and the whole classifier; of a weight of which some input channels trained,
// [kernel_h][kernel_w][channels][out / groups] of those, with their numbers beside it. Its metadata say the digests of
// the base and of the result.
#pragma once

#include <string>

#include "api/plan_file.h"

namespace sparsebp {

constexpr const char* kDeltaFormat = "sparsebp-delta";
constexpr const char* kDeltaMajor = "1.";  // of versions that are read
// Before the name of a weight: which of its input channels the delta has.
constexpr const char* kDeltaChannels = "sparsebp.channels.";

// Of a session and its file, whose state is up to date, since `then`, when the file's digest was `before`; it is
// `after` now.
void write_delta(const PlanFile& file, Session& session, const Moment& then, const std::string& before,
                 const std::string& after, const std::string& path);

// Writes what has changed from one plan file to another of the same plan. Throws InvalidFile if one of them is damaged,
// or they have different plans.
void make_delta(const std::string& base, const std::string& next, const std::string& out);

// Writes what `base` becomes with `delta`. Throws InvalidFile if one of them is damaged, or the delta continues another
// file; nothing is written then.
void apply_delta(const std::string& base, const std::string& delta, const std::string& out);

}  // namespace sparsebp
