// Offsets that never collide, and the arena that enforces them to the byte.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "check.h"
#include "core/arena.h"
#include "core/error.h"
#include "core/layout.h"
#include "core/random.h"
#include "platform/memory.h"

using namespace sparsebp;

namespace {

constexpr int kMoments = 24;

// Random buffers: many small ones, a few large, some empty, some that live through the whole step.
Layout random_layout(std::uint64_t seed) {
  Layout layout;
  std::uint64_t counter = 0;
  const auto below = [&](std::uint32_t bound) { return random_below(mix64(seed), counter++, bound); };
  const int count = 1 + static_cast<int>(below(40));
  for (int i = 0; i < count; ++i) {
    const std::size_t bytes = below(10) == 0 ? 0 : 1 + below(below(4) == 0 ? 5000 : 90);
    int begin = static_cast<int>(below(kMoments)), end = static_cast<int>(below(kMoments));
    if (begin > end) std::swap(begin, end);
    if (below(8) == 0) begin = -1, end = kMoments;
    layout.add("buffer" + std::to_string(i), {}, Category::scratch, bytes, begin, end);
  }
  layout.assign();
  return layout;
}

bool alive_together(const Buffer& a, const Buffer& b) { return a.begin <= b.end && b.begin <= a.end; }
bool share_bytes(const Buffer& a, const Buffer& b) {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

template <class F>
void every_layout(F check_layout) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    check::about("layout %d", static_cast<int>(seed));
    check_layout(random_layout(seed), seed);
  }
}

// All an arena counts, to compare before and after.
std::vector<std::size_t> counters(const Arena& arena) {
  std::vector<std::size_t> all = {arena.capacity(), arena.used(), arena.peak()};
  for (int i = 0; i < kCategories; ++i) {
    all.push_back(arena.held(static_cast<Category>(i)));
    all.push_back(arena.held_peak(static_cast<Category>(i)));
  }
  return all;
}

}  // namespace

TEST(buffers_that_are_alive_together_share_no_byte) {
  every_layout([](const Layout& layout, std::uint64_t) {
    const auto& all = layout.buffers();
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) CHECK(!(alive_together(all[i], all[j]) && share_bytes(all[i], all[j])));
    }
  });
}

TEST(every_buffer_is_aligned_and_the_peak_is_the_end_of_the_last_one) {
  every_layout([](const Layout& layout, std::uint64_t) {
    std::size_t last = 0;
    for (const Buffer& buffer : layout.buffers()) {
      CHECK_EQUAL(buffer.offset % kAlignment, 0u);
      if (buffer.bytes > 0) last = std::max(last, buffer.offset + buffer.bytes);
    }
    CHECK_EQUAL(layout.peak(), last);
  });
}

TEST(the_peak_holds_what_is_alive_at_any_moment) {
  every_layout([](const Layout& layout, std::uint64_t) {
    for (int moment = -1; moment <= kMoments; ++moment) {
      std::size_t alive = 0;
      for (const Buffer& buffer : layout.buffers()) {
        if (buffer.begin <= moment && moment <= buffer.end) alive += buffer.bytes;
      }
      CHECK(layout.peak() >= alive);
    }
  });
}

TEST(the_same_buffers_get_the_same_offsets) {
  every_layout([](Layout layout, std::uint64_t seed) {
    const Layout again = random_layout(seed);
    const std::size_t peak = layout.peak();
    layout.assign();
    CHECK_EQUAL(layout.peak(), peak);
    CHECK_EQUAL(again.peak(), peak);
    for (std::size_t i = 0; i < layout.buffers().size(); ++i) {
      CHECK_EQUAL(again.buffers()[i].offset, layout.buffers()[i].offset);
    }
  });
}

TEST(buffers_that_take_turns_share_the_same_bytes) {
  Layout layout;
  for (int i = 0; i < 10; ++i) layout.add("turn", {}, Category::gradients, 100, i, i);
  layout.assign();
  CHECK_EQUAL(layout.peak(), 100u);
}

TEST(a_stack_of_lifetimes_takes_the_sum_of_its_sizes) {
  Layout layout;
  for (int i = 0; i < 10; ++i) layout.add("saved", {}, Category::saved, 64, i, 20 - i);
  layout.assign();
  CHECK_EQUAL(layout.peak(), 640u);
}

TEST(a_layout_of_nothing_takes_nothing) {
  Layout empty;
  empty.assign();
  CHECK_EQUAL(empty.peak(), 0u);
  Layout hollow;
  CHECK_EQUAL(hollow.add("none", {}, Category::masks, 0, 0, 5), 0);
  hollow.assign();
  CHECK_EQUAL(hollow.peak(), 0u);
}

TEST(a_request_that_ends_at_the_last_byte_fits_and_one_byte_more_does_not) {
  for (std::size_t capacity : {1u, 31u, 32u, 33u, 1000u}) {
    check::about("capacity %d", static_cast<int>(capacity));
    Arena arena(capacity, host_memory());
    CHECK(arena.acquire(0, capacity, Category::saved) == arena.data());
    CHECK_EQUAL(arena.peak(), capacity);
    arena.release(capacity, Category::saved);
    CHECK_THROWS(BudgetExceeded, arena.acquire(0, capacity + 1, Category::saved), "saved");
    CHECK_THROWS(BudgetExceeded, arena.acquire(1, capacity, Category::saved), "saved");
    CHECK_EQUAL(arena.peak(), capacity);
  }
}

TEST(a_refusal_changes_no_counter_and_says_who_holds_what) {
  Arena arena(1000, host_memory());
  arena.acquire(0, 300, Category::saved);
  arena.acquire(320, 200, Category::masks);
  arena.release(200, Category::masks);
  const auto before = counters(arena);
  CHECK_THROWS(BudgetExceeded, arena.acquire(900, 101, Category::gradients), "saved 300");
  CHECK_THROWS(BudgetExceeded, arena.acquire(900, 101, Category::gradients), "101 bytes of gradients needs 1001");
  CHECK(counters(arena) == before);
  try {
    arena.acquire(500, 600, Category::scratch);
  } catch (const BudgetExceeded& error) {
    CHECK_EQUAL(error.required, 1100u);
    CHECK_EQUAL(error.budget, 1000u);
  }
  CHECK(counters(arena) == before);
}

TEST(a_request_so_large_that_its_end_wraps_around_is_refused) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  Arena arena(64, host_memory());
  const auto before = counters(arena);
  CHECK_THROWS(BudgetExceeded, arena.acquire(32, kMost - 15, Category::scratch), "scratch");
  CHECK_THROWS(BudgetExceeded, arena.acquire(kMost, 2, Category::scratch), "scratch");
  CHECK(counters(arena) == before);
}

TEST(the_peak_is_the_highest_byte_ever_acquired_and_stays) {
  Arena arena(1000, host_memory());
  arena.acquire(0, 100, Category::saved);
  arena.acquire(512, 100, Category::scratch);
  CHECK_EQUAL(arena.used(), 200u);
  CHECK_EQUAL(arena.peak(), 612u);
  arena.release(100, Category::scratch);
  arena.release(100, Category::saved);
  arena.acquire(32, 10, Category::saved);
  CHECK_EQUAL(arena.used(), 10u);
  CHECK_EQUAL(arena.peak(), 612u);
}

TEST(bytes_are_counted_by_what_they_are_held_for) {
  Arena arena(1000, host_memory());
  arena.acquire(0, 100, Category::masks);
  arena.acquire(128, 50, Category::masks);
  arena.acquire(256, 7, Category::sampler);
  arena.release(100, Category::masks);
  CHECK_EQUAL(arena.held(Category::masks), 50u);
  CHECK_EQUAL(arena.held_peak(Category::masks), 150u);
  CHECK_EQUAL(arena.held(Category::sampler), 7u);
  CHECK_EQUAL(arena.held(Category::saved), 0u);
}

TEST(an_arena_is_aligned_and_may_be_empty) {
  for (std::size_t capacity : {0u, 1u, 100u}) {
    Arena arena(capacity, host_memory());
    CHECK_EQUAL(reinterpret_cast<std::uintptr_t>(arena.data()) % kAlignment, 0u);
    CHECK(arena.acquire(0, 0, Category::saved) == arena.data());
    CHECK_EQUAL(arena.peak(), 0u);
  }
}
