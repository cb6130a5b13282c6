// After the first step, native code makes no heap allocation: every call into malloc's family is counted.
#include <dlfcn.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "check.h"
#include "isa/dispatch.h"
#include "platform/memory.h"
#include "platform/parallel.h"
#include "program/whole_step.h"
#include "trained_program.h"
#include "training/session.h"

#define EXPORTED __attribute__((visibility("default")))

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

// Defined here, these serve the whole process: operator new, libstdc++ and libc itself call them. glibc exports its own
// under a second name.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t number, std::size_t bytes);
void* __libc_realloc(void* block, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

EXPORTED void* malloc(std::size_t bytes) { return count(), __libc_malloc(bytes); }
EXPORTED void* calloc(std::size_t number, std::size_t bytes) { return count(), __libc_calloc(number, bytes); }
EXPORTED void* realloc(void* block, std::size_t bytes) { return count(), __libc_realloc(block, bytes); }
EXPORTED void* memalign(std::size_t alignment, std::size_t bytes) { return count(), __libc_memalign(alignment, bytes); }
EXPORTED void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return memalign(alignment, bytes); }
EXPORTED int posix_memalign(void** block, std::size_t alignment, std::size_t bytes) {
  *block = memalign(alignment, bytes);
  return *block != nullptr ? 0 : ENOMEM;
}
}

using namespace sparsebp;

namespace {

template <class Body>
int allocations_of(const Body& body) {
  allocations = 0;
  counting = true;
  body();
  counting = false;
  return allocations;
}

void* volatile kept = nullptr;  // keeps the compiler from removing a pair of new and delete

}  // namespace

TEST(the_counter_sees_every_kind_of_allocation) {
  CHECK_EQUAL(allocations_of([] {
                kept = ::operator new(10);
                ::operator delete(kept);
              }),
              1);
  CHECK_EQUAL(allocations_of([] {
                kept = std::malloc(10);
                kept = std::realloc(kept, 1000);
                std::free(kept);
                kept = std::calloc(3, 5);
                std::free(kept);
                kept = std::aligned_alloc(32, 64);
                std::free(kept);
              }),
              4);
  CHECK_EQUAL(allocations_of([] {
                kept = ::strdup("inside libc");
                std::free(kept);
              }),
              1);
  CHECK(allocations_of([] { const Arena arena(100, host_memory()); }) > 0);
}

TEST(after_the_first_step_no_step_allocates) {
  for (int threads : {1, 3}) {
    if (threads == 1 && brief()) continue;
    set_plain_threads(threads);
    every_program([&](const std::string& name, const ProgramSpec& spec, const Options& options) {
      check::about("%s, %d threads", name.c_str(), threads);
      TrainedProgram trainer(spec, options);
      trainer.step(0);
      CHECK_EQUAL(allocations_of([&] { trainer.draw(1); }), 0);
      CHECK_EQUAL(allocations_of([&] { trainer.forward(1); }), 0);
      CHECK_EQUAL(allocations_of([&] { trainer.backward(); }), 0);
      CHECK_EQUAL(allocations_of([&] { trainer.apply(); }), 0);
      const std::uint64_t last = brief() ? 3 : 6;
      CHECK_EQUAL(allocations_of([&] {
                    for (std::uint64_t turn = 2; turn < last; ++turn) trainer.step(turn);
                  }),
                  0);
    });
  }
  set_plain_threads(1);
}

TEST(nor_does_a_whole_step_in_its_block) {
  for (int threads : {1, 3}) {
    if (threads == 1 && brief()) continue;
    set_plain_threads(threads);
    every_streamed_program(
        [&](const std::string& name, const ProgramSpec& spec, const auto& streams, const Options& options) {
          for (const Pieces& pieces : {Pieces{1, 16}, {3, 48}}) {
            if (brief() && pieces.rows > 1) continue;
            check::about("%s, %d rows, %d threads", name.c_str(), static_cast<int>(pieces.rows), threads);
            TrainedProgram trainer(whole_step(spec, streams, pieces), options);
            trainer.step(0);
            CHECK_EQUAL(allocations_of([&] {
                          const std::uint64_t last = brief() ? 2 : 4;
                          for (std::uint64_t turn = 1; turn < last; ++turn) trainer.step(turn);
                        }),
                        0);
          }
        });
  }
  set_plain_threads(1);
}

TEST(every_isa_keeps_to_it) {
  for (const std::string& isa : usable_isas()) {
    check::about(isa.c_str());
    const Options options;
    TrainedProgram trainer(mobilenet(options), options, isa);
    trainer.step(0);
    CHECK_EQUAL(allocations_of([&] { trainer.step(1); }), 0);
  }
}

namespace {

int give_row(void*, Index image, Index row, std::uint8_t* out) {
  std::fill_n(out, 40 * 3, static_cast<std::uint8_t>(image * 40 + row));
  return 0;
}

}  // namespace

TEST(bytes_and_rows_of_a_reader_become_numbers_in_the_block) {
  Options options;
  options.span_begin = 4;
  TrainedProgram trainer(whole_step(mobilenet(options), {{0, 4}}, {}), options);
  const std::vector<float> table(3 * 256, 0.5f);
  const std::vector<std::uint8_t> bytes(2 * 40 * 40 * 3, 7);
  std::vector<float> y(2 * 10);
  PassInput in_memory, rows;
  in_memory.table = rows.table = table.data();
  in_memory.bytes = bytes.data(), rows.reader = give_row;
  trainer.step(0);
  const int allocated = allocations_of([&] {
    for (const PassInput& in : {in_memory, rows}) trainer.program->forward(0, 8, in, y.data(), 2, false, false, 0);
  });
  CHECK_EQUAL(allocated, 0);
}

TEST(once_it_has_memory_a_session_keeps_to_it) {
  Builder b(Options(), {1, 1, 4});  // the first op is the frozen prefix
  b.conv(0, b.layer(4, 6, 1, 1, 1, 1, Activation::relu, 0, false));
  b.conv(1, b.layer(6, 6, 1, 1, 1, 1, Activation::relu, 2, false));
  b.conv(2, b.layer(6, 5, 1, 1, 1, 1, Activation::identity, 6, false));
  Recipe recipe;
  const ParameterRule rule{true, 0.01, 0, 0, false};
  recipe.rules.assign(3, {rule, rule, rule});
  Session session(b.spec, recipe, {}, 3);
  session.attach(session.arena_bytes());
  std::vector<float> weights(3 * 42, 0.1f), features(2 * 6), logits(2 * 5);
  for (int layer = 0; layer < 3; ++layer) {
    float* own = weights.data() + 42 * layer;
    session.bind(layer, {own, own + 36, nullptr, nullptr, nullptr, nullptr});
  }
  const std::vector<float> x(2 * 4, 0.5f);
  const std::int32_t labels[] = {0, 2};
  Images pixels, made;
  pixels.numbers = x.data(), made.features = features.data();
  for (int round = 0; round < 2; ++round) {
    const int allocated = allocations_of([&] {
      session.features(pixels, 2, features.data());
      for (const Images& images : {pixels, made}) {
        session.train(images, labels, 2);
        session.predict(images, 2, logits.data());
        session.evaluate(images, labels, 2);
      }
      session.add_class();
    });
    if (round > 0) CHECK_EQUAL(allocated, 0);
  }
  CHECK_EQUAL(session.classes(), Index{5});
}
