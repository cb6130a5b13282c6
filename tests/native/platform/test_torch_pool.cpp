// Threads of a torch older than 2.10: found once it is loaded, as many as it says, every index once.
#include <dlfcn.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "check.h"
#include "platform/parallel.h"

using namespace sparsebp;

namespace {

constexpr std::int64_t kHeavy = 1'000'000'000;  // multiply-adds a unit: worth a thread, and never late

template <class Function>
Function* of_torch(const char* name) {
  static void* library = dlopen(OPENMP_TORCH, RTLD_NOW);
  return reinterpret_cast<Function*>(library != nullptr ? dlsym(library, name) : nullptr);
}

// Loads it, too.
void set_torch_threads(int threads) { of_torch<void(int)>("set_threads")(threads); }
void set_most_members(unsigned members) { of_torch<void(unsigned)>("set_most_members")(members); }

}  // namespace

TEST(until_torch_is_loaded_the_pool_is_a_plain_one) {
  set_plain_threads(2);
  CHECK_EQUAL(std::string(thread_pool_name()), "plain");
  CHECK_EQUAL(thread_count(), 2);
}

TEST(the_threads_are_as_many_as_torch_says) {
  for (int threads : {1, 3, 2}) {
    set_torch_threads(threads);
    CHECK_EQUAL(std::string(thread_pool_name()), "torch");
    CHECK_EQUAL(thread_count(), threads);
    std::mutex mutex;
    std::set<std::thread::id> workers;
    std::atomic<int> begun{0};
    parallel_for(threads, kHeavy, [&](std::int64_t) {
      ++begun;
      while (begun.load() < threads) std::this_thread::yield();  // a thread that is free would take the next unit too
      std::lock_guard<std::mutex> lock(mutex);
      workers.insert(std::this_thread::get_id());
    });
    CHECK_EQUAL(static_cast<int>(workers.size()), threads);
  }
}

TEST(every_index_is_visited_once_by_however_many_come) {
  set_torch_threads(4);
  for (unsigned members : {1u, 2u, 4u}) {
    set_most_members(members);
    for (std::int64_t count : {1, 2, 3, 7, 100}) {
      check::about("%u members, %d units", members, static_cast<int>(count));
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      parallel_for(count, kHeavy, [&](std::int64_t i) { ++visits[static_cast<std::size_t>(i)]; });
      for (const auto& visit : visits) CHECK_EQUAL(visit.load(), 1);
    }
  }
  set_most_members(64);
}
