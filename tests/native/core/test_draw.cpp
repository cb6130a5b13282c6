// Drawing update sets: every method, at awkward sizes.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "check.h"
#include "core/draw.h"
#include "core/random.h"

using namespace sparsebp;

namespace {

using Set = std::vector<std::int32_t>;

constexpr std::int32_t kUntouched = -12345;

struct Size {
  int channels, k;
};
const Size kSizes[] = {{1, 1},  {2, 1},   {2, 2},     {3, 2},    {7, 7},   {13, 5},    {16, 4},   {17, 16},   {31, 1},
                       {64, 8}, {97, 13}, {127, 127}, {160, 31}, {257, 6}, {1280, 26}, {960, 19}, {1009, 500}};

// Runs a draw with guards behind its outputs.
template <class F>
Set drawn(int k, F draw) {
  const auto size = static_cast<std::size_t>(k);
  Set out(size + 1, kUntouched);
  std::vector<float> keys(size + 1, -777.0f);
  draw(out.data(), keys.data());
  CHECK_EQUAL(out.back(), kUntouched);
  CHECK_EQUAL(keys.back(), -777.0f);
  out.pop_back();
  return out;
}

Set uniform(std::uint64_t key, const Size& size) {
  return drawn(size.k, [&](std::int32_t* out, float*) { draw_uniform(key, size.channels, size.k, out); });
}
Set cyclic(std::uint64_t seed, std::uint64_t stream, std::uint64_t turn, const Size& size) {
  return drawn(size.k, [&](std::int32_t* out, float*) { draw_cyclic(seed, stream, turn, size.channels, size.k, out); });
}
Set weighted(std::uint64_t key, const std::vector<float>& weight, int k) {
  return drawn(k, [&](std::int32_t* out, float* keys) {
    draw_weighted(key, weight.data(), static_cast<int>(weight.size()), k, out, keys);
  });
}
Set largest(std::uint64_t key, const std::vector<float>& weight, int k) {
  return drawn(k, [&](std::int32_t* out, float* keys) {
    draw_largest(key, weight.data(), static_cast<int>(weight.size()), k, out, keys);
  });
}

std::vector<float> random_weights(int channels) {
  std::vector<float> out(static_cast<std::size_t>(channels));
  for (std::size_t c = 0; c < out.size(); ++c) out[c] = static_cast<float>(random_unit(99, c));
  return out;
}

void check_set(const Set& set, const Size& size) {
  CHECK_EQUAL(set.size(), static_cast<std::size_t>(size.k));
  for (std::size_t i = 0; i < set.size(); ++i) {
    CHECK(set[i] >= 0 && set[i] < size.channels);
    if (i > 0) CHECK(set[i - 1] < set[i]);
  }
}

// Visits of one channel in `draws` independent draws that pick it with probability p: five standard deviations.
void check_visits(int visits, int draws, double p) {
  CHECK_CLOSE(visits, draws * p, 5 * std::sqrt(draws * p * (1 - p)) + 1e-9);
}

template <class F>
void every_size(F body) {
  for (const Size& size : kSizes) {
    check::about("%d of %d channels", size.k, size.channels);
    body(size);
  }
}

}  // namespace

TEST(every_draw_is_ascending_distinct_and_in_range) {
  every_size([](const Size& size) {
    const auto weight = random_weights(size.channels);
    for (std::uint64_t turn = 0; turn < 50; ++turn) {
      check_set(uniform(random_key(1, 2, turn), size), size);
      check_set(cyclic(1, 2, turn, size), size);
      check_set(weighted(random_key(1, 2, turn), weight, size.k), size);
      check_set(largest(random_key(1, 2, turn), weight, size.k), size);
    }
  });
}

TEST(the_same_arguments_give_the_same_set) {
  every_size([](const Size& size) {
    const auto weight = random_weights(size.channels);
    CHECK(uniform(42, size) == uniform(42, size));
    CHECK(cyclic(4, 2, 7, size) == cyclic(4, 2, 7, size));
    CHECK(weighted(42, weight, size.k) == weighted(42, weight, size.k));
    CHECK(largest(42, weight, size.k) == largest(42, weight, size.k));
  });
}

TEST(another_seed_layer_or_turn_gives_another_set) {
  const Size size{97, 13};
  CHECK(uniform(random_key(1, 2, 3), size) != uniform(random_key(9, 2, 3), size));
  CHECK(uniform(random_key(1, 2, 3), size) != uniform(random_key(1, 9, 3), size));
  CHECK(uniform(random_key(1, 2, 3), size) != uniform(random_key(1, 2, 9), size));
  CHECK(cyclic(1, 2, 3, size) != cyclic(9, 2, 3, size));
  CHECK(cyclic(1, 2, 3, size) != cyclic(1, 9, 3, size));
  CHECK(cyclic(1, 2, 3, size) != cyclic(1, 2, 4, size));
}

TEST(uniform_visits_every_channel_equally_often) {
  for (const Size& size : {Size{2, 1}, Size{3, 2}, Size{13, 5}, Size{16, 4}, Size{17, 16}, Size{97, 13}}) {
    check::about("%d of %d channels", size.k, size.channels);
    constexpr int kDraws = 4000;
    std::vector<int> visits(static_cast<std::size_t>(size.channels));
    for (std::uint64_t turn = 0; turn < kDraws; ++turn) {
      for (std::int32_t c : uniform(random_key(5, 0, turn), size)) ++visits[static_cast<std::size_t>(c)];
    }
    double chi_square = 0;
    const double p = static_cast<double>(size.k) / size.channels;
    for (int count : visits) {
      check_visits(count, kDraws, p);
      chi_square += (count - kDraws * p) * (count - kDraws * p) / (kDraws * p * (1 - p));
    }
    // Mean `channels`, variance 2 * channels or a little less: draws without replacement are balanced.
    CHECK(chi_square < size.channels + 6 * std::sqrt(2.0 * size.channels));
  }
}

TEST(cyclic_visits_each_channel_once_per_round) {
  every_size([](const Size& size) {
    const int turns = (size.channels + size.k - 1) / size.k;
    const int filled_up = turns * size.k - size.channels;  // by which the last set of a round repeats its beginning
    for (std::uint64_t round = 0; round < 3; ++round) {
      std::vector<int> visits(static_cast<std::size_t>(size.channels));
      for (int turn = 0; turn < turns; ++turn) {
        const Set set =
            cyclic(8, 1, round * static_cast<std::uint64_t>(turns) + static_cast<std::uint64_t>(turn), size);
        for (std::int32_t c : set) ++visits[static_cast<std::size_t>(c)];
      }
      CHECK_EQUAL(std::count(visits.begin(), visits.end(), 2), filled_up);
      CHECK_EQUAL(std::count(visits.begin(), visits.end(), 1), size.channels - filled_up);
    }
  });
}

TEST(cyclic_shuffles_every_round_anew) {
  constexpr int kRounds = 3000;
  for (int channels : {2, 3, 5, 16, 23}) {
    check::about("%d channels", channels);
    std::vector<int> first(static_cast<std::size_t>(channels));
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      ++first[static_cast<std::size_t>(cyclic(3, 0, round * static_cast<std::uint64_t>(channels), {channels, 1})[0])];
    }
    for (int count : first) check_visits(count, kRounds, 1.0 / channels);
  }
}

TEST(weighted_picks_in_proportion_to_the_weights) {
  const std::vector<float> weight = {1, 2, 3, 4, 10};
  constexpr int kDraws = 5000;
  std::vector<int> visits(weight.size());
  for (std::uint64_t turn = 0; turn < kDraws; ++turn) {
    ++visits[static_cast<std::size_t>(weighted(random_key(6, 0, turn), weight, 1)[0])];
  }
  for (std::size_t c = 0; c < weight.size(); ++c) check_visits(visits[c], kDraws, weight[c] / 20);
}

TEST(weighted_prefers_heavy_channels_in_larger_sets_too) {
  std::vector<float> weight(101, 1.0f);
  for (std::size_t c = 0; c < weight.size(); c += 10) weight[c] = 20.0f;
  int heavy = 0, light = 0;
  for (std::uint64_t turn = 0; turn < 500; ++turn) {
    for (std::int32_t c : weighted(random_key(7, 0, turn), weight, 9)) ++(c % 10 == 0 ? heavy : light);
  }
  // 11 heavy channels against 90 light ones: uniform draws would give 1 to 8.
  CHECK(heavy > light);
}

TEST(weighted_treats_a_channel_never_visited_like_the_heaviest) {
  const std::vector<float> weight = {1, 5, -1, 1};
  constexpr int kDraws = 5000;
  std::vector<int> visits(weight.size());
  for (std::uint64_t turn = 0; turn < kDraws; ++turn) {
    ++visits[static_cast<std::size_t>(weighted(random_key(8, 0, turn), weight, 1)[0])];
  }
  check_visits(visits[1], kDraws, 5.0 / 12);
  check_visits(visits[2], kDraws, 5.0 / 12);
}

TEST(weighted_takes_a_channel_of_no_weight_only_when_nothing_else_is_left) {
  const std::vector<float> weight = {0, 1, 0, 1, 1, 0, 0};
  for (std::uint64_t turn = 0; turn < 200; ++turn) {
    CHECK(weighted(random_key(9, 0, turn), weight, 3) == (Set{1, 3, 4}));
    check_set(weighted(random_key(9, 0, turn), weight, 5), {7, 5});
    check_set(weighted(random_key(9, 0, turn), std::vector<float>(7, 0.0f), 5), {7, 5});
  }
}

TEST(largest_picks_the_largest) {
  every_size([](const Size& size) {
    const auto weight = random_weights(size.channels);
    const Set picked = largest(11, weight, size.k);
    std::vector<float> sorted = weight;
    std::sort(sorted.begin(), sorted.end(), [](float a, float b) { return a > b; });
    for (std::int32_t c : picked) {
      CHECK(weight[static_cast<std::size_t>(c)] >= sorted[static_cast<std::size_t>(size.k) - 1]);
    }
  });
}

TEST(largest_takes_channels_never_visited_first) {
  const std::vector<float> weight = {3, -1, 8, 0, -1, 9, 1};
  for (std::uint64_t key = 0; key < 20; ++key) {
    CHECK(largest(key, weight, 2) == (Set{1, 4}));
    CHECK(largest(key, weight, 3) == (Set{1, 4, 5}));
  }
}

TEST(largest_breaks_ties_at_random) {
  const std::vector<float> weight = {1, 2, 2, 0, 2, 2, 1};
  std::vector<int> visits(weight.size());
  for (std::uint64_t turn = 0; turn < 200; ++turn) {
    for (std::int32_t c : largest(random_key(12, 0, turn), weight, 2)) ++visits[static_cast<std::size_t>(c)];
  }
  for (std::size_t c = 0; c < weight.size(); ++c) CHECK_EQUAL(visits[c] > 0, weight[c] == 2);
}
