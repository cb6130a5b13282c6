// One op: as many inputs and layers as its kind has, layers of the right kind, and shapes that hang together.
#include <string>

#include "core/error.h"
#include "core/size_limits.h"
#include "spec/validate.h"

namespace sparsebp {
namespace {

struct Kind {
  const char* name;
  std::size_t inputs, least_layers, most_layers;
};

Kind kind_of(const std::string& name, OpKind kind) {
  switch (kind) {
    case OpKind::conv:
      return {"conv", 1, 1, 1};
    case OpKind::depthwise:
      return {"depthwise", 1, 1, 1};
    case OpKind::block:
      return {"block", 1, 2, 3};
    case OpKind::head:
      return {"head", 1, 1, 1};
    case OpKind::add:
      return {"add", 2, 0, 0};
    case OpKind::activation:
      return {"activation", 1, 0, 0};
    case OpKind::pool:
      return {"pool", 1, 0, 0};
    case OpKind::dropout:
      return {"dropout", 1, 0, 0};
  }
  throw InvalidArgument(name + ": unknown kind " + std::to_string(static_cast<int>(kind)));
}

std::string text(const ValueSpec& v) {
  return std::to_string(v.height) + "x" + std::to_string(v.width) + "x" + std::to_string(v.channels);
}

bool same(const ValueSpec& a, const ValueSpec& b) {
  return a.height == b.height && a.width == b.width && a.channels == b.channels;
}

ValueSpec input_of(const ConvShape& s) { return {s.height, s.width, s.in}; }
ValueSpec output_of(const ConvShape& s) { return {s.out_height, s.out_width, s.out}; }

class OpCheck {
 public:
  OpCheck(const ProgramSpec& spec, std::size_t index)
      : spec_(spec), index_(index), op_(spec.ops[index]), name_("op " + std::to_string(index)) {}

  void run() {
    const Kind kind = kind_of(name_, op_.kind);
    name_ += std::string(" (") + kind.name + ")";
    check_numbers(kind);
    switch (op_.kind) {
      case OpKind::conv:
        return check_maps(layer(0).shape);
      case OpKind::depthwise:
        check_depthwise(0);
        return check_maps(layer(0).shape);
      case OpKind::block:
        return check_block();
      case OpKind::head:
        check_pointwise(0);
        expect("its input", input(0), input_of(layer(0).shape));
        return expect("its output, pooled to one pixel", output(), {1, 1, layer(0).shape.out});
      case OpKind::pool:
        check_pooling(name_ + ": window", op_.window, spec_.batch);
        return check_maps(op_.window);
      case OpKind::add:
      case OpKind::activation:
      case OpKind::dropout:
        for (std::size_t i = 0; i < op_.inputs.size(); ++i) expect("its input", input(i), output());
    }
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw InvalidArgument(name_ + ": " + what); }

  const LayerSpec& layer(std::size_t i) const { return spec_.layers[static_cast<std::size_t>(op_.layers[i])]; }
  const ValueSpec& value(int id) const { return spec_.values[static_cast<std::size_t>(id)]; }
  const ValueSpec& input(std::size_t i) const { return value(op_.inputs[i]); }
  const ValueSpec& output() const { return value(op_.output); }

  void check_ids(const char* what, const std::vector<int>& ids, std::size_t count) const {
    for (int id : ids) {
      if (id < 0 || static_cast<std::size_t>(id) >= count) {
        fail(std::string(what) + ": there is no " + std::to_string(id) + ", the program has " + std::to_string(count));
      }
    }
  }

  // What does not depend on shapes.
  void check_numbers(const Kind& kind) const {
    if (op_.inputs.size() != kind.inputs) {
      fail("inputs: expected " + std::to_string(kind.inputs) + ", got " + std::to_string(op_.inputs.size()));
    }
    if (op_.layers.size() < kind.least_layers || op_.layers.size() > kind.most_layers) {
      std::string wanted = std::to_string(kind.least_layers);
      if (kind.most_layers > kind.least_layers) wanted += " or " + std::to_string(kind.most_layers);
      fail("layers: expected " + wanted + ", got " + std::to_string(op_.layers.size()));
    }
    check_ids("inputs", op_.inputs, spec_.values.size());
    check_ids("output", {op_.output}, spec_.values.size());
    check_ids("layers", op_.layers, spec_.layers.size());
    check_activation(name_, op_.activation);
    if (op_.block <= 0 || op_.block % kPanel != 0) {
      fail("block: expected a positive multiple of " + std::to_string(kPanel) + ", got " + std::to_string(op_.block));
    }
    if (op_.forward_block < 0 || op_.forward_block % kHalfPanel != 0) {
      fail("forward_block: expected a multiple of " + std::to_string(kHalfPanel) + ", got " +
           std::to_string(op_.forward_block));
    }
    check_size(name_, "forward_rows", op_.forward_rows, 0);
    if (!(op_.drop >= 0 && op_.drop <= 1)) {
      fail("drop: expected a probability from 0 to 1, got " + std::to_string(op_.drop));
    }
    check_keep();
    if (op_.residual && op_.kind != OpKind::block) fail("residual: only a block adds its input to its output");
  }

  void check_keep() const {
    if (op_.keep == Keep::masks) return;
    if (op_.keep > Keep::input8) {
      fail("keep: expected 0 to " + std::to_string(static_cast<int>(Keep::input8)) + ", got " +
           std::to_string(static_cast<int>(op_.keep)));
    }
    if (op_.kind != OpKind::block) fail("keep: only a block keeps its input");
    if (op_.keep == Keep::input8 && op_.layers.size() < 3) fail("keep: only a block that expands keeps 8 bits");
    if (spec_.scope != Scope::step) fail("keep: a block keeps its input only where the budget covers the whole step");
    if (index_ < static_cast<std::size_t>(spec_.span_begin)) fail("keep: in front of the span nothing is kept");
  }

  void expect(const char* what, const ValueSpec& got, const ValueSpec& wanted) const {
    if (!same(got, wanted)) fail(std::string(what) + ": expected " + text(wanted) + ", got " + text(got));
  }

  void check_maps(const ConvShape& s) const {
    expect("its input", input(0), input_of(s));
    expect("its output", output(), output_of(s));
  }

  std::string named(std::size_t i) const {
    return "layer " + std::to_string(op_.layers[i]) + " (" + layer(i).name + ")";
  }

  void check_depthwise(std::size_t i) const {
    const ConvShape& s = layer(i).shape;
    if (s.groups == s.in && s.in == s.out) return;
    fail(named(i) + ": expected a depthwise convolution, got " + std::to_string(s.in) + " to " + std::to_string(s.out) +
         " channels in " + std::to_string(s.groups) + " groups");
  }

  void check_pointwise(std::size_t i) const {
    const ConvShape& s = layer(i).shape;
    if (s.pointwise() && s.groups == 1) return;
    fail(named(i) + ": expected a pointwise convolution: kernel and stride 1, no padding, one group");
  }

  void check_block() const {
    const std::size_t last = op_.layers.size() - 1, dw = last - 1;
    if (dw == 1) check_pointwise(0);
    check_depthwise(dw);
    check_pointwise(last);
    if (layer(last).activation != Activation::identity) fail(named(last) + ": a block's projection has no activation");
    expect("its input", input(0), input_of(layer(0).shape));
    for (std::size_t i = 0; i < last; ++i) {
      const ValueSpec made = output_of(layer(i).shape), read = input_of(layer(i + 1).shape);
      if (!same(made, read)) fail(named(i + 1) + ": reads " + text(read) + ", the layer before makes " + text(made));
    }
    expect("its output", output(), output_of(layer(last).shape));
    if (op_.residual) expect("its input, which a residual adds to the output", input(0), output());
  }

  const ProgramSpec& spec_;
  const std::size_t index_;
  const OpSpec& op_;
  std::string name_;
};

}  // namespace

void validate_op(const ProgramSpec& spec, std::size_t index) { OpCheck(spec, index).run(); }

}  // namespace sparsebp
