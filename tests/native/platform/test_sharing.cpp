// Work that threads share or not: the faster way is found, stays, and is left when the other one has become faster.
#include "check.h"
#include "platform/sharing.h"

using namespace sparsebp;

namespace {

// Takes `turns` turns, of which one way takes `first` and the other `second` seconds; how many took the second.
int seconds_taken(FasterWay& way, int turns, double first, double second) {
  int taken = 0;
  for (int i = 0; i < turns; ++i) {
    const bool is_second = way.second();
    taken += is_second;
    way.note(is_second ? second : first);
  }
  return taken;
}

}  // namespace

TEST(both_ways_are_tried_at_first) {
  FasterWay way;
  const int taken = seconds_taken(way, 8, 1.0, 1.0);
  CHECK(taken > 0);
  CHECK(taken < 8);
}

TEST(the_faster_way_is_taken_nearly_always) {
  FasterWay first, second;
  seconds_taken(first, 8, 1.0, 2.0);
  CHECK(seconds_taken(first, 1000, 1.0, 2.0) < 20);
  seconds_taken(second, 8, 2.0, 1.0);
  CHECK(seconds_taken(second, 1000, 2.0, 1.0) > 980);
}

TEST(a_way_that_becomes_slower_is_left_within_some_turns) {
  FasterWay way;
  seconds_taken(way, 100, 1.0, 1.5);
  CHECK(seconds_taken(way, 40, 3.0, 1.5) > 20);
}

TEST(a_way_that_becomes_faster_is_found) {
  FasterWay way;
  seconds_taken(way, 100, 1.0, 3.0);
  seconds_taken(way, 300, 1.0, 0.5);
  CHECK(seconds_taken(way, 100, 1.0, 0.5) > 95);
}

TEST(a_turn_that_something_else_held_up_changes_nothing) {
  FasterWay way;
  seconds_taken(way, 100, 1.0, 1.5);
  for (int i = 0; i < 20; ++i) {
    seconds_taken(way, 1, 50.0, 50.0);
    CHECK(seconds_taken(way, 30, 1.0, 1.5) < 8);
  }
}

TEST(cold_caches_of_a_first_turn_do_not_decide) {
  FasterWay way;
  way.second();
  way.note(100.0);
  seconds_taken(way, 12, 1.0, 2.0);
  CHECK(seconds_taken(way, 200, 1.0, 2.0) < 10);
}

TEST(work_runs_once_a_turn_on_any_number_of_threads) {
  for (int threads : {1, 2, 3}) {
    set_plain_threads(threads);
    Sharing sharing;
    int runs = 0;
    for (int i = 0; i < 100; ++i) sharing.run(i, [&] { ++runs; });
    CHECK_EQUAL(runs, 100);
    CHECK_EQUAL(thread_count(), threads);
  }
  set_plain_threads(1);
}

TEST(regions_are_shared_in_some_turns_and_not_in_others) {
  set_plain_threads(2);
  Sharing sharing;
  int shared = 0, alone = 0;
  for (int i = 0; i < 16; ++i) {
    sharing.run(1, [&] { ++(thread_count() == 1 ? alone : shared); });
  }
  CHECK(shared > 0);
  CHECK(alone > 0);
  set_plain_threads(1);
}
