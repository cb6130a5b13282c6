// Memory exactly as planned: every planned byte is written, no other is, and none is read before.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "check.h"
#include "trained_program.h"

namespace sparsebp {

constexpr std::size_t kSpare = 4096;  // budget beyond the plan's peak

using Bytes = std::vector<unsigned char>;

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

inline void check_same(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  CHECK_EQUAL(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(same_bits(a[i], b[i]));
}

// Which bytes of an arena some buffer that `wanted` accepts takes.
template <class F>
Bytes covered(const Layout& layout, std::size_t capacity, F wanted) {
  Bytes out(capacity);
  for (const Buffer& buffer : layout.buffers()) {
    if (wanted(buffer)) std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(buffer.offset), buffer.bytes, 1);
  }
  return out;
}

inline Bytes copy(Arena& arena) {
  const auto* data = reinterpret_cast<const unsigned char*>(arena.data());
  return Bytes(data, data + arena.capacity());
}

// What the arenas hold after each half of a step that began with every byte poisoned but the persistent state.
struct Poisoned {
  Bytes forward, backward, workspace;
  std::vector<std::vector<float>> outcome;

  Poisoned(const ProgramSpec& spec, const Options& options, unsigned char poison) {
    TrainedProgram trainer(spec, options, "", kSpare);
    Arena &arena = *trainer.program->arena(), &work = *trainer.program->workspace();
    const Bytes before = copy(arena);
    std::memset(arena.data(), poison, arena.capacity());
    for (const auto& region : trainer.program->persistent()) {
      std::memcpy(arena.data() + region.offset, before.data() + region.offset, region.bytes);
    }
    std::memset(work.data(), poison, work.capacity());
    trainer.draw(0);
    trainer.forward(0);
    forward = copy(arena);
    trainer.backward();
    trainer.apply();
    backward = copy(arena), workspace = copy(work);
    outcome = trainer.outcome();
  }
};

// A byte is unwritten if it holds the poison in both runs: a written one can equal only one of two patterns.
constexpr unsigned char kPoison[2] = {0xA5, 0x3C};
inline bool unwritten(const Bytes& a, const Bytes& b, std::size_t i) {
  return a[i] == kPoison[0] && b[i] == kPoison[1];
}

inline void check_written(const Bytes& a, const Bytes& b, const Bytes& wanted, const char* what) {
  std::size_t missing = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) missing += wanted[i] != 0 && unwritten(a, b, i);
  check::equal(missing, std::size_t{0}, __FILE__, __LINE__, what);
}

inline void check_untouched(const Bytes& a, const Bytes& b, const Bytes& taken, const char* what) {
  std::size_t touched = 0;
  for (std::size_t i = 0; i < taken.size(); ++i) touched += taken[i] == 0 && !unwritten(a, b, i);
  check::equal(touched, std::size_t{0}, __FILE__, __LINE__, what);
}

inline void check_memory(const ProgramSpec& spec, const Options& options) {
  const Poisoned a(spec, options, kPoison[0]), b(spec, options, kPoison[1]);
  // Had the step read a byte that it never wrote, the runs would differ; as NaN it would show even times zero.
  check_same(a.outcome, b.outcome);
  check_same(a.outcome, Poisoned(spec, options, 0xFF).outcome);

  const auto program = make_program(spec, false, "");
  const Layout &training = program->training_layout(), &work = program->workspace_layout();
  const auto any = [](const Buffer&) { return true; };
  const auto kept = [](const Buffer& buffer) {
    return buffer.begin >= 0 && (buffer.category == Category::saved || buffer.category == Category::masks);
  };
  const Bytes taken = covered(training, training.peak() + kSpare, any);
  // At the end of the forward pass all saved slices and masks are there, each in its own bytes.
  check_written(a.forward, b.forward, covered(training, training.peak(), kept), "unwritten bytes after forward");
  check_written(a.backward, b.backward, taken, "unwritten bytes of the arena");
  check_untouched(a.backward, b.backward, taken, "bytes of the arena written outside every buffer");

  // Threads divide the room for strips among them, which need not come out even.
  const auto whole = [](const Buffer& buffer) { return thread_count() == 1 || buffer.name != "strips"; };
  check_written(a.workspace, b.workspace, covered(work, work.peak(), whole), "unwritten bytes of the workspace");
  const Bytes work_taken = covered(work, work.peak(), any);
  check_untouched(a.workspace, b.workspace, work_taken, "bytes of the workspace written outside every buffer");
}

}  // namespace sparsebp
