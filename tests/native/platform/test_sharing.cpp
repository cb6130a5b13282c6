// Work that threads share or not: the faster way is found, piece by piece, and found again when it is another one.
#include "check.h"
#include "platform/sharing.h"

using namespace sparsebp;

namespace {

// Takes `turns` turns of one piece, one way of which takes `first` and the other `second` seconds; how many took the
// second.
int second_taken(FasterWays& ways, int turns, double first, double second) {
  int taken = 0;
  for (int i = 0; i < turns; ++i) {
    ways.begin_turn();
    const bool is_second = ways.second(0);
    taken += is_second;
    ways.note(0, is_second ? second : first);
  }
  return taken;
}

}  // namespace

TEST(both_ways_are_tried_soon_but_not_in_the_very_first_turns) {
  FasterWays ways(1);
  CHECK_EQUAL(second_taken(ways, 8, 1.0, 1.0), 0);
  const int taken = second_taken(ways, 16, 1.0, 1.0);
  CHECK(taken > 0);
  CHECK(taken < 16);
}

TEST(the_faster_way_is_taken_nearly_always) {
  for (double other : {1.02, 1.1, 2.0, 30.0}) {
    FasterWays first(1), second(1);
    CHECK(second_taken(first, 1000, 1.0, other) < 40);
    CHECK(second_taken(second, 1000, other, 1.0) > 950);
  }
}

TEST(each_piece_has_a_way_of_its_own) {
  FasterWays ways(2);
  for (int i = 0; i < 100; ++i) {
    ways.begin_turn();
    for (std::size_t piece : {0, 1}) ways.note(piece, ways.second(piece) == (piece == 1) ? 1.0 : 2.0);
  }
  CHECK(!ways.second(0));
  CHECK(ways.second(1));
}

TEST(a_way_that_becomes_faster_is_found) {
  FasterWays ways(1);
  second_taken(ways, 300, 1.0, 3.0);
  second_taken(ways, 150, 1.0, 0.5);
  CHECK(second_taken(ways, 100, 1.0, 0.5) > 90);
  second_taken(ways, 150, 0.25, 0.5);
  CHECK(second_taken(ways, 100, 0.25, 0.5) < 10);
}

TEST(a_first_turn_behind_another_way_does_not_count) {
  FasterWays ways(1);
  bool before = false;
  int taken = 0;
  for (int i = 0; i < 1000; ++i) {
    ways.begin_turn();
    const bool second = ways.second(0);
    taken += second;
    ways.note(0, (second ? 1.1 : 1.0) * (i == 0 || second != before ? 1.5 : 1.0));
    before = second;
  }
  CHECK(taken < 40);
}

TEST(one_turn_that_something_held_up_changes_nothing) {
  FasterWays ways(1);
  int taken = 0;
  for (int i = 0; i < 1000; ++i) {
    ways.begin_turn();
    const bool second = ways.second(0);
    taken += second;
    ways.note(0, i % 7 == 0 ? 50.0 : second ? 1.5 : 1.0);
  }
  CHECK(taken < 40);
}

TEST(work_runs_once_a_turn_on_any_number_of_threads) {
  for (int threads : {1, 2, 3}) {
    set_plain_threads(threads);
    Sharing sharing(1);
    int runs = 0;
    for (int i = 0; i < 100; ++i) {
      sharing.begin_turn();
      sharing.run(0, i, [&] { ++runs; });
    }
    CHECK_EQUAL(runs, 100);
    CHECK_EQUAL(thread_count(), threads);
  }
  set_plain_threads(1);
}

TEST(regions_are_shared_in_some_turns_and_not_in_others) {
  set_plain_threads(2);
  Sharing sharing(1);
  int shared = 0, alone = 0;
  for (int i = 0; i < 24; ++i) {
    sharing.begin_turn();
    sharing.run(0, 1, [&] { ++(thread_count() == 1 ? alone : shared); });
  }
  CHECK(shared > 0);
  CHECK(alone > 0);
  set_plain_threads(1);
}
