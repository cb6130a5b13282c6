// The executor: a list of ops run forward, backward and update without returning to the caller.
//
// Constructing a program only lays out its memory (a planner makes many). `allocate` takes the arena, `bind` the
// weights. After the first step nothing here allocates.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/draw.h"
#include "program/input.h"
#include "program/rules.h"
#include "program/training_state.h"

namespace sparsebp {

// Pointers as the caller has them; T is the program's.
struct RawParams {
  void *weight = nullptr, *bias = nullptr, *gamma = nullptr, *beta = nullptr, *mean = nullptr, *var = nullptr;
};

// What callers see: a program whatever its element type. Every call throws InvalidArgument or WrongState for what it
// cannot do, and then has changed nothing.
class AnyProgram {
 public:
  virtual ~AnyProgram() = default;

  virtual const ProgramSpec& spec() const = 0;
  virtual const Layout& training_layout() const = 0;
  virtual const Layout& workspace_layout() const = 0;
  virtual const char* isa() const = 0;
  virtual std::size_t itemsize() const = 0;  // bytes of a number
  // Where the calls below start their work, on a device that has streams.
  virtual void set_stream(std::uintptr_t stream) = 0;

  // Takes `budget` bytes for the arena and what the workspace needs, once. Throws BudgetExceeded.
  virtual void allocate(std::size_t budget) = 0;
  virtual Arena* arena() = 0;
  virtual Arena* workspace() = 0;
  virtual void bind(int layer, const RawParams& params) = 0;
  // The last `count` output channels of a layer without groups and batch norm, not all of them, are spare: nothing of
  // them trains or counts in what the others' steps are divided by. Those that are spare no more begin at zero. Only
  // on this processor.
  virtual void set_spare(int layer, Index count) = 0;

  // Where the arena holds the bytes of a micro-batch of images, and where the program's output, until the next pass;
  // null where the caller does. There is no place for images while a training pass waits for its backward.
  virtual std::uint8_t* pictures() = 0;
  virtual void* output() = 0;
  // Runs ops [first, last) on `images` images, at most the planned batch; `in` and `out` are NHWC and belong to the
  // caller. No other value may come into these ops from outside. With `save` a backward pass may follow: they are the
  // whole span then. Only the program's own input may be bytes, and only where the budget covers the whole step.
  virtual void forward(int first, int last, const PassInput& in, void* out, Index images, bool save, bool drop,
                       std::uint64_t dropout_key) = 0;
  // Runs the span backwards from the output's gradient. `dx` may be null unless the spec wants it; `rules` has
  // one for every layer. With `keep`, what the forward pass saved stays until `discard`, and another
  // backward pass may follow: only for one op (of several, the earlier ones' memory is used again on the way) with
  // gradient sums (in place, the weights of the forward pass are gone).
  virtual void backward(const void* dy, void* dx, const std::vector<LayerRule>& rules, bool keep) = 0;
  // Where the output's gradient of the pass in flight goes, for `backward` to start from (a program with spec.loss
  // only).
  virtual void* loss_gradient() = 0;
  // Applies gradient sums (a program with spec.sums only).
  virtual void apply(const std::vector<LayerRule>& rules) = 0;
  // A GPU's graph of a training step reads rules, dropout key and update sets where they lie: they are written before
  // each replay, and `replayed` is told after it. What a replay found in its incoming gradient `spoilt` tells, which
  // waits for it: with a NaN or an infinity the step changed nothing.
  virtual void prepare_replay(const std::vector<LayerRule>& rules, std::uint64_t dropout_key) = 0;
  virtual void replayed() = 0;
  virtual bool spoilt() = 0;
  // Forgets a forward pass whose backward pass will not come.
  virtual void discard() = 0;
  virtual bool in_flight() const = 0;

  // Update sets change between steps, never between a forward pass and its backward pass.
  virtual void draw(int layer, Draw method, std::uint64_t seed, std::uint64_t turn) = 0;
  virtual void draw_all(Draw method, std::uint64_t seed, std::uint64_t turn) = 0;
  virtual void set_indices(int layer, const std::vector<std::int32_t>& channels) = 0;
  virtual std::vector<std::int32_t> indices(int layer) const = 0;
  virtual Index visited(int layer) const = 0;  // channels

  // Persistent training state as raw bytes, in the order of the layout's persistent buffers.
  virtual std::vector<Region> persistent() const = 0;
  virtual void read(const Region& region, void* out) = 0;
  virtual void write(const Region& region, const void* in) = 0;
  // A layer's gradient sums inside the arena: offset in bytes and element count; zero count if there are none.
  virtual Region sum_region(int layer, const std::string& parameter) const = 0;
};

// On this processor. Whoever calls the second alone leaves what computes in float64 to the linker to drop.
std::unique_ptr<AnyProgram> make_program(ProgramSpec spec, bool float64, const std::string& isa);
std::unique_ptr<AnyProgram> make_program(ProgramSpec spec, const std::string& isa);
// On this processor, in memory that the caller has given.
std::unique_ptr<AnyProgram> make_program(ProgramSpec spec, const std::string& isa, Memory& memory);
std::unique_ptr<AnyProgram> make_program(ProgramSpec spec, std::unique_ptr<Device<float>> device);

}  // namespace sparsebp
