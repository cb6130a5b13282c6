#include "platform/torch_pool.h"

#include <dlfcn.h>
#include <link.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>

namespace sparsebp {
namespace {

constexpr char kLibrary[] = "libtorch_cpu.so";

// How many libraries this process has loaded so far.
unsigned long long libraries_loaded() {
  unsigned long long loaded = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        *static_cast<unsigned long long*>(out) = info->dlpi_adds;
        return 1;
      },
      &loaded);
  return loaded;
}

// Where torch's library lies, or nothing: by the name of its file, which in Debian's packages ends in a version.
std::string torch_library() {
  std::string path;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        const char* slash = std::strrchr(info->dlpi_name, '/');
        const bool found = std::strncmp(slash ? slash + 1 : info->dlpi_name, kLibrary, std::strlen(kLibrary)) == 0;
        if (found) *static_cast<std::string*>(out) = info->dlpi_name;
        return found ? 1 : 0;
      },
      &path);
  return path;
}

template <class Function>
void look_up(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
}

// What the members of an OpenMP team share: each takes the next index until none is left, so that a team with fewer
// members than asked for, such as one inside a region, does all of the work too.
struct Team {
  std::atomic<int> next{0};
  const int threads;
  const RangeFunction function;
  void* const context;

  static void join(void* self) {
    Team& team = *static_cast<Team*>(self);
    for (int i; (i = team.next.fetch_add(1, std::memory_order_relaxed)) < team.threads;) {
      team.function(i, i + 1, team.context);
    }
  }
};

class TorchPool final : public ThreadPool {
 public:
  // Of torch's library; usable or not.
  explicit TorchPool(void* library) {
    look_up(library, "torch_parallel_for", parallel_for_);
    look_up(library, "torch_get_num_threads", thread_count_);
    look_up(library, "_ZN2at15get_num_threadsEv", get_num_threads_);
    look_up(library, "GOMP_parallel", gomp_parallel_);  // searches what torch is linked to as well
  }
  bool usable() const { return (parallel_for_ && thread_count_) || (get_num_threads_ && gomp_parallel_); }

  const char* name() const override { return "torch"; }

  // What torch.set_num_threads says.
  int threads() const override {
    if (thread_count_ == nullptr) return get_num_threads_();
    std::uint32_t threads = 1;
    thread_count_(&threads);
    return static_cast<int>(threads);
  }

  // Inside a region of torch's, all on this thread.
  void run(int threads, RangeFunction function, void* context) override {
    if (parallel_for_ != nullptr) {
      parallel_for_(0, threads, 1, function, context);
      return;
    }
    Team team{{0}, threads, function, context};
    gomp_parallel_(&Team::join, &team, static_cast<unsigned>(threads), 0);
  }

 private:
  // A C ABI, since torch 2.10.
  int (*parallel_for_)(std::int64_t, std::int64_t, std::int64_t, RangeFunction, void*) = nullptr;
  int (*thread_count_)(std::uint32_t*) = nullptr;
  // Before: at::get_num_threads(), and the OpenMP runtime that torch's own parallel-for compiles into.
  int (*get_num_threads_)() = nullptr;
  void (*gomp_parallel_)(void (*)(void*), void*, unsigned threads, unsigned flags) = nullptr;
};

// Of torch's library if it is loaded.
std::optional<TorchPool> search() {
  const std::string path = torch_library();
  void* library = path.empty() ? nullptr : dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return {};
  const TorchPool pool(library);
  return pool.usable() ? std::optional<TorchPool>(pool) : std::nullopt;
}

}  // namespace

ThreadPool* torch_pool() {
  static std::optional<TorchPool> pool;
  static std::atomic<bool> found{false};
  static std::atomic<unsigned long long> searched{0};
  static std::mutex searching;
  if (found.load(std::memory_order_acquire)) return &*pool;
  // A search in vain walks all libraries, so it is repeated only after another one was loaded.
  const unsigned long long loaded = libraries_loaded();
  if (searched.load(std::memory_order_relaxed) == loaded) return nullptr;
  const std::lock_guard<std::mutex> lock(searching);
  if (!found.load(std::memory_order_relaxed)) {
    pool = search();
    searched.store(loaded, std::memory_order_relaxed);
    found.store(pool.has_value(), std::memory_order_release);
  }
  return found.load(std::memory_order_relaxed) ? &*pool : nullptr;
}

}  // namespace sparsebp
