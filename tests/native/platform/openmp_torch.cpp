// Stands for the libtorch_cpu.so of a torch older than 2.10, which shows C++ and an OpenMP runtime, but no C ABI.
#include <thread>
#include <vector>

#define EXPORTED __attribute__((visibility("default")))

namespace {
int threads = 1;
unsigned most_members = 64;
}  // namespace

namespace at {
EXPORTED int get_num_threads() { return threads; }
}  // namespace at

extern "C" {

EXPORTED void GOMP_parallel(void (*member)(void*), void* data, unsigned wanted, unsigned) {
  std::vector<std::thread> team;
  for (unsigned i = 1; i < wanted && i < most_members; ++i) team.emplace_back(member, data);
  member(data);
  for (std::thread& thread : team) thread.join();
}

EXPORTED void set_threads(int count) { threads = count; }
EXPORTED void set_most_members(unsigned count) { most_members = count; }
}
