// A pool of the host program: it gets every region, never one inside another, and is given back.
#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "platform/parallel.h"

using namespace sparsebp;

namespace {

constexpr std::int64_t kHeavy = 1'000'000'000;  // multiply-adds a unit: worth a thread, and never late

// What the host was asked for.
struct Asked {
  std::atomic<int> regions{0}, most{0};
};

void on_new_threads(void* context, int count, void (*task)(void*, int), void* work) {
  auto& asked = *static_cast<Asked*>(context);
  ++asked.regions;
  asked.most = std::max(asked.most.load(), count);
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(task, work, i);
  for (std::thread& thread : threads) thread.join();
}

void one_after_the_other_backwards(void*, int count, void (*task)(void*, int), void* work) {
  while (count-- > 0) task(work, count);
}

void check_each_index_once(std::int64_t count) {
  std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
  parallel_for(count, kHeavy, [&](std::int64_t i) { ++visits[static_cast<std::size_t>(i)]; });
  for (const auto& visit : visits) CHECK_EQUAL(visit.load(), 1);
}

}  // namespace

TEST(the_host_gets_regions_of_at_most_as_many_tasks_as_it_said) {
  Asked asked;
  set_host_pool(&on_new_threads, &asked, 3);
  CHECK_EQUAL(std::string(thread_pool_name()), "host");
  CHECK_EQUAL(thread_count(), 3);
  for (std::int64_t count : {2, 3, 100}) check_each_index_once(count);
  CHECK_EQUAL(asked.regions.load(), 3);
  CHECK_EQUAL(asked.most.load(), 3);
  set_host_pool(nullptr, nullptr, 0);
  CHECK_EQUAL(std::string(thread_pool_name()), "plain");
  check_each_index_once(100);
  CHECK_EQUAL(asked.regions.load(), 3);
}

TEST(tasks_may_run_one_after_the_other_in_any_order) {
  set_host_pool(&one_after_the_other_backwards, nullptr, 4);
  for (std::int64_t count : {1, 4, 7}) check_each_index_once(count);
  set_host_pool(nullptr, nullptr, 0);
}

TEST(a_region_inside_a_task_does_not_reach_the_host) {
  Asked asked;
  set_host_pool(&on_new_threads, &asked, 2);
  std::atomic<int> visits{0};
  parallel_for(2, kHeavy, [&](std::int64_t) { parallel_for(5, kHeavy, [&](std::int64_t) { ++visits; }); });
  CHECK_EQUAL(visits.load(), 10);
  CHECK_EQUAL(asked.regions.load(), 1);
  set_host_pool(nullptr, nullptr, 0);
}

TEST(two_callers_and_a_change_of_pools_at_any_moment) {
  Asked asked;
  std::atomic<std::int64_t> sum{0};
  const auto work = [&] {
    for (int i = 0; i < 200; ++i) parallel_for(8, kHeavy, [&](std::int64_t j) { sum += j; });
  };
  std::thread first(work), second(work);
  for (int i = 0; i < 50; ++i) {
    set_host_pool(&on_new_threads, &asked, 2);
    set_plain_threads(1 + i % 3);
    set_host_pool(nullptr, nullptr, 0);
  }
  first.join(), second.join();
  CHECK_EQUAL(sum.load(), 2 * 200 * 28);
  set_plain_threads(1);
}

TEST(a_number_of_threads_that_cannot_be_is_refused) {
  CHECK_THROWS(InvalidArgument, set_host_pool(&on_new_threads, nullptr, 0), "expected at least 1, at most 64, got 0");
  CHECK_THROWS(InvalidArgument, set_host_pool(&on_new_threads, nullptr, 65), "got 65");
  CHECK_EQUAL(std::string(thread_pool_name()), "plain");
}
