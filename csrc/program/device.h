// What a program runs on: this processor (program/host.h) or a GPU (cuda/device.h). It says where arenas get their
// memory, makes the ops, and does the few things of a step that are no op.
#pragma once

#include <memory>

#include "program/layer.h"
#include "program/op.h"

namespace sparsebp {

template <class T>
class Device {
 public:
  virtual ~Device() = default;

  virtual const char* name() const = 0;  // of an instruction set, or "cuda"
  virtual Memory& memory() = 0;
  // Kernels for ops that run in this process; null elsewhere.
  virtual const Kernels<T>* kernels() const { return nullptr; }
  // How many times the activations that fit a processor's cache an op should work on at once.
  virtual Index strip_factor() const { return 1; }
  virtual std::unique_ptr<Op<T>> make_op(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) = 0;
  // Called once, before anything below.
  virtual void allocate(const std::vector<Layer<T>>&) {}

  // Every call into a program happens between these two. Work is started in the order of `stream`.
  virtual void enter(std::uintptr_t /*stream*/) {}
  virtual void leave() {}
  // What the device does from now on, for its error messages.
  virtual void begin_stage(const char* /*stage*/) {}

  // Throws NonFinite if `x` has a NaN or an infinity. A device that cannot wait for the answer changes nothing from
  // then on: until the next call or, where passes are added up, until `applied`.
  virtual void require_finite(const T* x, Index count, bool adds_up) = 0;
  // Whether that has happened to the last pass, or to the passes that were applied last.
  virtual bool spoilt() { return false; }
  // Of the dropouts of the passes that follow.
  virtual void set_dropout_key(std::uint64_t /*key*/) {}
  // The optimizer's part of the layers' rules is set; what a gradient meets in this pass follows.
  virtual void set_rules(std::vector<Layer<T>>& layers) = 0;
  // Brings scores and mean squares up to date with the squared norms of a backward pass, and lets go of those.
  virtual void update_statistics(Layer<T>& layer) = 0;
  // Applies and clears gradient sums.
  virtual void apply(Layer<T>& layer) = 0;
  // That was done to all layers.
  virtual void applied() {}
};

// While it lives, a device works for a program.
template <class T>
class DeviceScope {
 public:
  DeviceScope(Device<T>& device, std::uintptr_t stream) : device_(device) { device_.enter(stream); }
  ~DeviceScope() { device_.leave(); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  Device<T>& device_;
};

}  // namespace sparsebp
