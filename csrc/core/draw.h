// Drawing an update set: k different channels out of `channels`, written in ascending order.
//
// No draw allocates; `keys` is k floats of planned scratch. All are pure functions of their arguments.
#pragma once

#include <cstdint>

namespace sparsebp {

enum class Draw { uniform, cyclic, weighted, largest };

// Uniform without replacement (Floyd's algorithm).
void draw_uniform(std::uint64_t key, int channels, int k, std::int32_t* out);

// Set number `turn` of an endless walk in rounds. A round is one keyed shuffle of all channels, cut into
// ceil(channels / k) sets; the last set of a round is filled up from the round's beginning.
void draw_cyclic(std::uint64_t seed, std::uint64_t stream, std::uint64_t turn, int channels, int k, std::int32_t* out);

// Without replacement, with probability proportional to `weight` (Efraimidis & Spirakis 2006).
// Channels with a negative weight (never visited) count as if they had the largest weight of all.
void draw_weighted(std::uint64_t key, const float* weight, int channels, int k, std::int32_t* out, float* keys);

// The k largest weights; negative (never visited) ones first, ties broken at random by `key`.
void draw_largest(std::uint64_t key, const float* weight, int channels, int k, std::int32_t* out, float* keys);

}  // namespace sparsebp
