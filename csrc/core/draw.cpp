#include "core/draw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"

namespace sparsebp {
namespace {

// Inserts into an ascending list of `count` numbers unless it is there already.
bool insert_sorted(std::int32_t value, std::int32_t* list, int count) {
  std::int32_t* at = std::lower_bound(list, list + count, value);
  if (at != list + count && *at == value) return false;
  std::copy_backward(at, list + count, list + count + 1);
  *at = value;
  return true;
}

// A keyed permutation of [0, size): a four-round Feistel network on the next even power of two, walked until
// it lands inside. It needs no table, which is why a cyclic sampler costs no memory.
std::uint32_t permute(std::uint64_t key, std::uint32_t index, std::uint32_t size) {
  int half = 1;
  while ((std::uint64_t{1} << (2 * half)) < size) ++half;
  const std::uint32_t low = (1u << half) - 1;
  do {
    std::uint32_t left = index >> half, right = index & low;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint32_t next = left ^ (static_cast<std::uint32_t>(mix64(key ^ (round << 40) ^ right)) & low);
      left = right;
      right = next;
    }
    index = (left << half) | right;
  } while (index >= size);
  return index;
}

// Keeps the k largest keys of a stream; `keys` and `out` stay sorted by key, largest first.
void keep_largest(float key, std::int32_t channel, int k, int& count, std::int32_t* out, float* keys) {
  if (count == k && key <= keys[k - 1]) return;
  int at = count < k ? count++ : k - 1;
  for (; at > 0 && keys[at - 1] < key; --at) {
    keys[at] = keys[at - 1];
    out[at] = out[at - 1];
  }
  keys[at] = key;
  out[at] = channel;
}

}  // namespace

void draw_uniform(std::uint64_t key, int channels, int k, std::int32_t* out) {
  for (int count = 0; count < k; ++count) {
    const int top = channels - k + count;
    const auto candidate = static_cast<std::int32_t>(random_below(key, count, static_cast<std::uint32_t>(top) + 1));
    if (!insert_sorted(candidate, out, count)) insert_sorted(top, out, count);
  }
}

void draw_cyclic(std::uint64_t seed, std::uint64_t stream, std::uint64_t turn, int channels, int k, std::int32_t* out) {
  const std::uint64_t turns = (static_cast<std::uint64_t>(channels) + k - 1) / k;
  const std::uint64_t key = random_key(seed, stream, turn / turns);
  const std::uint64_t first = turn % turns * k;
  for (int i = 0; i < k; ++i) {
    const auto position = static_cast<std::uint32_t>((first + i) % channels);
    insert_sorted(static_cast<std::int32_t>(permute(key, position, channels)), out, i);
  }
}

void draw_weighted(std::uint64_t key, const float* weight, int channels, int k, std::int32_t* out, float* keys) {
  const float largest = std::max(*std::max_element(weight, weight + channels), std::numeric_limits<float>::min());
  int count = 0;
  for (int c = 0; c < channels; ++c) {
    const float w = weight[c] < 0 ? largest : std::max(weight[c], std::numeric_limits<float>::min());
    // log(u) / w is the log of u^(1/w), the classic key, without its underflow.
    keep_largest(static_cast<float>(std::log(random_unit(key, c)) / w), c, k, count, out, keys);
  }
  std::sort(out, out + k);
}

void draw_largest(std::uint64_t key, const float* weight, int channels, int k, std::int32_t* out, float* keys) {
  int count = 0;
  // Starting at a random channel breaks ties at random: the first of equals is kept.
  const std::uint32_t start = random_below(key, 0, static_cast<std::uint32_t>(channels));
  for (int i = 0; i < channels; ++i) {
    const int c = static_cast<int>((start + static_cast<std::uint32_t>(i)) % static_cast<std::uint32_t>(channels));
    const float w = weight[c] < 0 ? std::numeric_limits<float>::max() : weight[c];
    keep_largest(w, c, k, count, out, keys);
  }
  std::sort(out, out + k);
}

}  // namespace sparsebp
