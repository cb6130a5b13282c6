// The parallel-for: every index once, on the threads asked for, and a plain pool that may be resized at any time.
#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include "check.h"
#include "core/error.h"
#include "platform/parallel.h"

using namespace sparsebp;

namespace {

constexpr std::int64_t kHeavy = 1'000'000'000;  // multiply-adds a unit: worth a thread, and never late

// After a region that another program made late, the following ones run serially for up to a tenth of a second.
void wait_until_parallel() { std::this_thread::sleep_for(std::chrono::milliseconds(110)); }

void check_each_index_once(std::int64_t count, std::int64_t unit_work) {
  std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
  parallel_for(count, unit_work, [&](std::int64_t i) { ++visits[static_cast<std::size_t>(i)]; });
  for (const auto& visit : visits) CHECK_EQUAL(visit.load(), 1);
}

}  // namespace

TEST(every_index_is_visited_once) {
  for (int threads : {1, 2, 3, 5}) {
    set_plain_threads(threads);
    for (std::int64_t count : {0, 1, 2, 3, 4, 7, 100}) {
      check::about("%d threads, %d units", threads, static_cast<int>(count));
      check_each_index_once(count, kHeavy);
      check_each_index_once(count, 1);
    }
  }
}

TEST(as_many_threads_work_as_were_asked_for) {
  for (int threads : {1, 3, 2}) {
    check::about("%d threads", threads);
    set_plain_threads(threads);
    CHECK_EQUAL(thread_count(), threads);
    CHECK_EQUAL(std::string(thread_pool_name()), "plain");
    wait_until_parallel();
    std::array<std::thread::id, 3> ids;
    std::atomic<int> begun{0};
    parallel_for(threads, kHeavy, [&](std::int64_t i) {
      ids[static_cast<std::size_t>(i)] = std::this_thread::get_id();
      ++begun;
      while (begun.load() < threads) std::this_thread::yield();  // a thread that is free would take the next unit too
    });
    for (int i = 0; i < threads; ++i) {
      for (int j = 0; j < i; ++j) CHECK(ids[static_cast<std::size_t>(i)] != ids[static_cast<std::size_t>(j)]);
    }
  }
}

TEST(each_thread_gets_the_same_share_in_every_region) {
  constexpr int kThreads = 3;
  set_plain_threads(kThreads);
  wait_until_parallel();
  std::array<std::thread::id, kThreads> before;
  for (int region = 0; region < 50; ++region) {
    std::array<std::thread::id, kThreads> ids;
    std::atomic<int> begun{0};
    parallel_for(kThreads, kHeavy, [&](std::int64_t i) {
      ids[static_cast<std::size_t>(i)] = std::this_thread::get_id();
      ++begun;
      while (begun.load() < kThreads) std::this_thread::yield();
    });
    if (region > 0) CHECK(ids == before);
    before = ids;
  }
}

TEST(a_free_thread_takes_the_units_of_one_that_is_held_up) {
  set_plain_threads(2);
  wait_until_parallel();
  constexpr int kUnits = 8;
  std::atomic<int> done{0};
  // The first unit ends after all others: whoever runs it, the other thread must do its share as well.
  parallel_for(kUnits, kHeavy, [&](std::int64_t i) {
    while (i == 0 && done.load() < kUnits - 1) std::this_thread::yield();
    ++done;
  });
  CHECK_EQUAL(done.load(), kUnits);
}

TEST(a_small_region_stays_on_the_calling_thread) {
  set_plain_threads(3);
  wait_until_parallel();
  const auto caller = std::this_thread::get_id();
  parallel_for(3, kSerialWork / 3 - 1, [&](std::int64_t) { CHECK(std::this_thread::get_id() == caller); });
}

TEST(a_region_inside_a_region_runs_on_its_own_thread) {
  set_plain_threads(3);
  wait_until_parallel();
  std::atomic<int> strangers{0}, visits{0};
  parallel_for(3, kHeavy, [&](std::int64_t) {
    const auto caller = std::this_thread::get_id();
    parallel_for(5, kHeavy, [&](std::int64_t) {
      ++visits;
      strangers += std::this_thread::get_id() != caller;
    });
  });
  CHECK_EQUAL(visits.load(), 15);
  CHECK_EQUAL(strangers.load(), 0);
}

TEST(fewer_than_one_thread_is_refused) {
  set_plain_threads(2);
  CHECK_THROWS(InvalidArgument, set_plain_threads(0), "expected at least 1, at most 64, got 0");
  CHECK_THROWS(InvalidArgument, set_plain_threads(-3), "got -3");
  CHECK_EQUAL(thread_count(), 2);
}
