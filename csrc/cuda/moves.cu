// Ops that only move numbers: values side by side, channels in another order, images in other sides or among zeros.
#include "cuda/moves.cuh"
#include "cuda/ops.h"
#include "program/ops/other_sides.h"

namespace sparsebp::cuda {
namespace {

const ValueSpec& value_spec(const ProgramSpec& program, int id) { return program.values[static_cast<std::size_t>(id)]; }

class Concat final : public Op<float> {
 public:
  Concat(const OpSpec& op, const ProgramSpec& program, const Driver& driver)
      : Op(op), driver_(driver), out_(value_spec(program, op.output)) {
    for (int input : op.inputs) counts_.push_back(value_spec(program, input).channels);
  }

  void forward(Context& context) override {
    float* y = output(context, spec.output);
    for (std::size_t i = 0; i < counts_.size(); y += counts_[i++]) {
      move({value(context, spec.inputs[i]), y, counts_[i], out_.channels, rows(context), counts_[i], false});
    }
  }

  void backward(Context& context) override {
    const float* dy = gradient(context, spec.output);
    for (std::size_t i = 0; i < counts_.size(); dy += counts_[i++]) {
      if (gradient(context, spec.inputs[i]) == nullptr) continue;
      const Target target = input_grad(context, static_cast<int>(i));
      move({dy, target.grad, out_.channels, counts_[i], rows(context), counts_[i], target.accumulate});
    }
  }

 private:
  Index rows(const Context& context) const { return context.images * out_.pixels(); }
  void move(const ColumnsMoveArgs& args) const { each(driver_.queue, &move_columns, args.rows * args.count, args); }

  const Driver& driver_;
  const ValueSpec out_;
  std::vector<Index> counts_;  // channels of each input
};

// Output number j of a unit of numbers is its number map[j]: of a pixel the channels, or of an image all of them.
class Mapped final : public Op<float> {
 public:
  Mapped(const OpSpec& op, const ProgramSpec& program, Driver& driver)
      : Op(op), driver_(driver), first_(driver.maps.size()) {
    const ValueSpec& value = value_spec(program, op.inputs[0]);
    units_ = op.kind == OpKind::channels ? value.pixels() : 1;
    in_ = value.count() / units_, out_ = static_cast<Index>(op.map.size());
    add_maps(driver.maps);
  }

  void forward(Context& context) override {
    MapArgs args = maps(context);
    args.x = value(context, spec.inputs[0]), args.y = output(context, spec.output);
    each(driver_.queue, &map_forward, args.units * out_, args);
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    MapArgs args = maps(context);
    args.x = gradient(context, spec.output), args.y = target.grad, args.accumulate = target.accumulate;
    each(driver_.queue, &map_backward, args.units * in_, args);
  }

 private:
  // The map, and by input number where it goes: several places, or none.
  void add_maps(std::vector<std::int32_t>& maps) const {
    std::vector<std::int32_t> firsts(static_cast<std::size_t>(in_) + 1), places(spec.map.size());
    for (int number : spec.map) ++firsts[static_cast<std::size_t>(number) + 1];
    for (std::size_t i = 1; i < firsts.size(); ++i) firsts[i] += firsts[i - 1];
    std::vector<std::int32_t> next = firsts;
    for (std::size_t j = 0; j < spec.map.size(); ++j) {
      places[static_cast<std::size_t>(next[static_cast<std::size_t>(spec.map[j])]++)] = static_cast<std::int32_t>(j);
    }
    maps.insert(maps.end(), spec.map.begin(), spec.map.end());
    maps.insert(maps.end(), firsts.begin(), firsts.end());
    maps.insert(maps.end(), places.begin(), places.end());
  }
  MapArgs maps(const Context& context) const {
    const std::int32_t* map = driver_.device_maps + first_;
    return {nullptr, nullptr, context.images * units_, in_, out_, map, map + out_, map + out_ + in_ + 1, false};
  }

  const Driver& driver_;
  const std::size_t first_;  // where its maps begin among the driver's
  Index units_, in_, out_;   // of an image, numbers of a unit
};

class Reshape final : public OtherSides<float> {
 public:
  Reshape(const OpSpec& op, const ProgramSpec& program, const Driver& driver)
      : OtherSides(op, program), driver_(driver) {}

  void forward(Context& context) override {
    move({value(context, spec.inputs[0]), output(context, spec.output), context.images, planes(in_), planes(out_),
          false});
  }
  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    move({gradient(context, spec.output), target.grad, context.images, planes(out_), planes(in_), target.accumulate});
  }

 private:
  static Planes planes(const ValueSpec& value) { return {value.pixels(), value.channels}; }
  void move(const ReshapeArgs& args) const { each(driver_.queue, &reshape, args.images * in_.count(), args); }

  const Driver& driver_;
};

class Zeros final : public OtherSides<float> {
 public:
  Zeros(const OpSpec& op, const ProgramSpec& program, const Driver& driver)
      : OtherSides(op, program), driver_(driver) {}

  void forward(Context& context) override {
    each(driver_.queue, &zeros_forward, context.images * out_.count(),
         args(context, value(context, spec.inputs[0]), output(context, spec.output), false));
  }
  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    each(driver_.queue, &zeros_backward, context.images * in_.count(),
         args(context, gradient(context, spec.output), target.grad, target.accumulate));
  }

 private:
  ZerosArgs args(const Context& context, const float* x, float* y, bool accumulate) const {
    return {x,        y,         context.images, in_.height, in_.width, out_.height, out_.width, in_.channels,
            spec.top, spec.left, accumulate};
  }

  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_move(const OpSpec& op, const ProgramSpec& program, Driver& driver) {
  switch (op.kind) {
    case OpKind::concat:
      return std::make_unique<Concat>(op, program, driver);
    case OpKind::reshape:
      return std::make_unique<Reshape>(op, program, driver);
    case OpKind::zeros:
      return std::make_unique<Zeros>(op, program, driver);
    default:
      return std::make_unique<Mapped>(op, program, driver);
  }
}

}  // namespace sparsebp::cuda
