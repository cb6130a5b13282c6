// The buffers of a program's values and of their gradients, and the moment at which each buffer is let go.
#pragma once

#include <vector>

#include "program/context.h"
#include "spec/liveness.h"

namespace sparsebp {

template <class T>
class ValueBuffers {
 public:
  explicit ValueBuffers(const ProgramSpec& spec);

  // Persistent buffers live until then.
  int end_time() const { return end_time_; }
  // Does a gradient reach the value.
  bool needs_grad(int value) const { return live_.needs_grad[static_cast<std::size_t>(value)] != 0; }

  // Values go to the workspace, their gradients to the arena; the caller holds the program's input and output, unless
  // the budget covers the whole step. Values inside a stream never exist whole.
  void declare(Context<T>& context, const ProgramSpec& spec);
  // The gradient of the program's output too goes to the arena.
  void declare_output_grad(Context<T>& context, const ProgramSpec& spec);
  // Puts releases in order, once the layouts are complete.
  void order_releases(const Context<T>& context);

  // For the images of this pass.
  void acquire_value(Context<T>& context, int value) const;
  void acquire_grad(Context<T>& context, int value) const;
  // That of the program's output; the same place until it is released.
  T* output_grad(Context<T>& context) const;

  // Where the arena holds the program's output; null if the caller does. `output` is null too while it is not held.
  T* output_place(const Context<T>& context) const;
  T* output(const Context<T>& context) const;

  // Releases what is alive until `time`, unless it is older than `since`. What inference holds beyond the forward pass,
  // the output, goes with what training holds.
  void release_values_at(Context<T>& context, int time) const;
  void release_training_at(Context<T>& context, int time, int since = 0) const;
  // All but what is persistent.
  void release_values(Context<T>& context) const;
  void release_training(Context<T>& context) const;
  void release_output(Context<T>& context) const;

 private:
  using Releases = std::vector<std::vector<int>>;  // by moment
  // Of the buffers that inference holds in the forward pass, or of the others.
  Releases ordered(const Layout& layout, bool values) const;
  static void release(PlannedArena& arena, const std::vector<int>& buffers, int since);

  int end_time_;
  Liveness live_;
  std::vector<Index> counts_;  // of values, one image
  std::vector<int> value_buffer_, grad_buffer_;
  int output_ = 0, output_grad_ = -1;  // the value, and its gradient's buffer
  bool whole_step_ = false;            // is the output in the arena
  Releases of_workspace_, of_training_;
};

}  // namespace sparsebp
