// What an op sees while it runs: kernels, this pass's pointers, and the two arenas it acquires memory from.
//
// The arena holds training memory, the workspace holds what inference needs; no buffer is in both. Where the budget
// covers the whole step the arena is the workspace too. Moments of a step: -1 draw, i forward of op i (i < n), 2n-1-i
// backward of op i, 2n update. Persistent buffers live from -1 to 2n, what a stream holds while one of its ops runs.
#pragma once

#include <algorithm>
#include <vector>

#include "core/arena.h"
#include "core/checked.h"
#include "core/layout.h"
#include "core/poison.h"
#include "kernels/table.h"
#include "spec/stream.h"

namespace sparsebp {

// A planned arena: acquires buffers at their planned offsets with the bytes that this pass really needs.
class PlannedArena {
 public:
  Layout layout;

  void allocate(std::size_t capacity, Memory& memory) {
    arena = std::make_unique<Arena>(capacity, memory);
    poison(arena->data(), capacity);
    held_.assign(layout.buffers().size(), 0);
  }
  template <class T>
  T* acquire(int buffer, Index count) {
    const Buffer& planned = layout[buffer];
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    void* data = arena->acquire(planned.offset, bytes, planned.category);
    unpoison(data, bytes);
    held_[static_cast<std::size_t>(buffer)] = bytes;
    return static_cast<T*>(data);
  }
  // The pointer of a buffer that is held.
  template <class T>
  T* at(int buffer) const {
    return reinterpret_cast<T*>(arena->data() + layout[buffer].offset);
  }
  void release(int buffer) {
    std::size_t& bytes = held_[static_cast<std::size_t>(buffer)];
    arena->release(bytes, layout[buffer].category);
    poison(arena->data() + layout[buffer].offset, bytes);
    bytes = 0;
  }
  bool holds(int buffer) const { return held_[static_cast<std::size_t>(buffer)] != 0; }

  std::unique_ptr<Arena> arena;

 private:
  std::vector<std::size_t> held_;
};

template <class T>
class Layer;

// Scratch that several ops have one after the other, always in the same place, so that each thread finds its own part
// of it in its cache. It lives from the first of them to the last.
struct SharedScratch {
  int buffer = -1;
  Index count = 0;  // numbers, of the op that needs most
  int begin = 0, end = 0;

  void want(Index numbers, int time) {
    begin = count == 0 ? time : std::min(begin, time), end = std::max(end, time);
    count = std::max(count, numbers);
  }
};

template <class T>
struct Context {
  Context() = default;
  Context(const Context&) = delete;  // it points into itself
  Context& operator=(const Context&) = delete;

  const Kernels<T>* kernels = nullptr;
  PlannedArena training, own_workspace;
  PlannedArena* workspace = &own_workspace;  // or &training
  SharedScratch strips;                      // in the workspace if that is not the arena
  std::vector<Layer<T>> layers;
  std::vector<T*> values;      // this pass's activations
  std::vector<T*> grads;       // this pass's gradients
  std::vector<char> grad_set;  // has the gradient been written yet, so that the next writer adds
  Index batch = 0;             // planned
  Index images = 0;            // in this pass, at most the planned batch
  bool save = false;           // is this forward pass followed by a backward pass
  bool drop = false;           // is dropout active
  std::uint64_t dropout_key = 0;
};

// Collects the buffers of one op while the program is laid out.
template <class T>
struct Declare {
  PlannedArena& training;
  PlannedArena& workspace;
  SharedScratch* strips;  // null where ops have their own
  Index batch;
  int op;
  int forward_time, backward_time;
  bool in_span;                   // does this op train or pass a gradient
  bool input_grad;                // does its (first) input want a gradient
  std::vector<char> input_grads;  // does each of them
  Index strip_factor;             // see device.h
  StreamRows stream;              // of an op in a stream: the rows that it holds and makes
  std::string name;               // of the op, for people

  // `part` tells the layers of an op apart, for people: "expand." for example.
  int saved(int layer, Index count, const char* part = "") const {
    return add<T>(training, {op, layer, "saved"}, part, Category::saved, count, forward_time, backward_time);
  }
  // Of an activation: a layer's, or the op's own with -1.
  int mask(int layer, Index count, const char* part = "") const {
    return add<std::uint8_t>(training, {op, layer, "mask"}, part, Category::masks, count, forward_time, backward_time);
  }
  // The input of an op, which makes its masks and slices again while it runs backward; U: what it keeps of a number.
  template <class U>
  int kept(const char* role, Index count) const {
    return add<U>(training, {op, -1, role}, "", Category::saved, count, forward_time, backward_time);
  }
  int mask_again(int layer, Index count, const char* part) const {
    return add<std::uint8_t>(training, {op, layer, "mask again"}, part, Category::scratch, count, backward_time,
                             backward_time);
  }
  int slice_again(int layer, Index count, const char* part) const {
    return add<T>(training, {op, layer, "slice again"}, part, Category::scratch, count, backward_time, backward_time);
  }
  int backward_scratch(const char* role, Index count) const {
    return add<T>(training, {op, -1, role}, "", Category::scratch, count, backward_time, backward_time);
  }
  int forward_scratch(const char* role, Index count) const {
    return add<T>(workspace, {op, -1, role}, "", Category::activations, count, forward_time, forward_time);
  }

 private:
  template <class U>
  int add(PlannedArena& arena, const Purpose& purpose, const char* part, Category category, Index count, int begin,
          int end) const {
    const std::string full = name + "." + part + purpose.role;
    return arena.layout.add(full, purpose, category, byte_count(full, count, sizeof(U)), begin, end);
  }
};

constexpr Index div_up(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index mask_row_bytes(Index channels) { return div_up(channels, 8); }

// Streamed ops keep their masks panel after panel, so that threads, which work on different panels, share no cache
// line. The same bytes as pixel after pixel: where the panel of channel `c` begins, and a pixel's bytes in it.
constexpr Index panel_mask(Index pixels, Index c) { return c / kPanel * mask_row_bytes(kPanel) * pixels; }
constexpr Index panel_mask_row(Index channels, Index c) {
  return mask_row_bytes(channels - c < kPanel ? channels - c : kPanel);
}

}  // namespace sparsebp
