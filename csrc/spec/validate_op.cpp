// One op: as many inputs and layers as its kind has, layers of the right kind, and shapes that hang together.
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/size_limits.h"
#include "spec/op_kinds.h"
#include "spec/validate.h"

namespace sparsebp {
namespace {

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
    const OpForm kind = form_of(name_, op_.kind);
    name_ += std::string(" (") + kind.name + ")";
    check_numbers(kind);
    switch (op_.kind) {
      case OpKind::conv:
      case OpKind::conv_transpose:
        return check_maps(layer(0).shape);
      case OpKind::depthwise:
        check_depthwise(0);
        return check_maps(layer(0).shape);
      case OpKind::block:
        return check_block();
      case OpKind::gated:
        return check_gated();
      case OpKind::head:
        check_pointwise(0);
        expect("its input", input(0), input_of(layer(0).shape));
        return expect("its output, pooled to one pixel", output(), {1, 1, layer(0).shape.out});
      case OpKind::pool:
      case OpKind::max_pool:
        check_pooling(name_ + ": window", op_.window, spec_.batch, op_.kind == OpKind::max_pool);
        if (op_.kind == OpKind::max_pool) check_size(name_, "window: taps", op_.window.taps(), 1, kMostTaps);
        return check_maps(op_.window);
      case OpKind::add:
      case OpKind::multiply:
        expect("its input", input(0), output());
        return check_spread();
      case OpKind::activation:
      case OpKind::dropout:
      case OpKind::affine:
      case OpKind::softmax:
        return expect("its input", input(0), output());
      case OpKind::concat:
        return check_concat();
      case OpKind::channels:
        expect("its output", output(), {input(0).height, input(0).width, static_cast<Index>(op_.map.size())});
        return check_map("channels", input(0).channels);
      case OpKind::zeros:
        expect("its input's channels", {1, 1, input(0).channels}, {1, 1, output().channels});
        check_size(name_, "top", op_.top, 0, output().height - input(0).height);
        return check_size(name_, "left", op_.left, 0, output().width - input(0).width);
      case OpKind::gather:
        if (static_cast<Index>(op_.map.size()) != output().count()) {
          fail("map: expected " + std::to_string(output().count()) + " numbers, got " + std::to_string(op_.map.size()));
        }
        return check_map("numbers", input(0).count());
      case OpKind::reshape:
        if (input(0).count() == output().count()) return;
        fail("its output: expected " + std::to_string(input(0).count()) + " numbers, as its input has, got " +
             text(output()));
      case OpKind::channel_pool:
        return expect("its output", output(), {input(0).height, input(0).width, 1});
      case OpKind::resize:
      case OpKind::adaptive_pool:
        return expect("its input's channels", {1, 1, input(0).channels}, {1, 1, output().channels});
      case OpKind::norm:
      case OpKind::group_norm:
      case OpKind::layer_norm:
      case OpKind::prelu:
        return check_channelwise();
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

  template <class Enum>
  void check_choice(const char* what, Enum value, Enum last) const {
    if (value <= last) return;
    fail(std::string(what) + ": expected 0 to " + std::to_string(static_cast<int>(last)) + ", got " +
         std::to_string(static_cast<int>(value)));
  }

  // What does not depend on shapes.
  void check_numbers(const OpForm& kind) const {
    if (kind.inputs == kAnyNumber ? op_.inputs.empty() : op_.inputs.size() != kind.inputs) {
      fail("inputs: expected " + (kind.inputs == kAnyNumber ? "at least 1" : std::to_string(kind.inputs)) + ", got " +
           std::to_string(op_.inputs.size()));
    }
    if (op_.layers.size() < kind.least_layers || op_.layers.size() > kind.most_layers) {
      std::string wanted = std::to_string(kind.least_layers);
      if (kind.most_layers > kind.least_layers) wanted += " or " + std::to_string(kind.most_layers);
      fail("layers: expected " + wanted + ", got " + std::to_string(op_.layers.size()));
    }
    check_ids("inputs", op_.inputs, spec_.values.size());
    check_ids("output", {op_.output}, spec_.values.size());
    check_ids("layers", op_.layers, spec_.layers.size());
    for (std::size_t i = 0; i < op_.layers.size(); ++i) {
      if (layer(i).kind == kind.layers) continue;
      fail(named(i) + ": expected kind " + std::to_string(static_cast<int>(kind.layers)) + ", got " +
           std::to_string(static_cast<int>(layer(i).kind)));
    }
    for (std::size_t i = 0; i < op_.layers.size() && op_.kind != OpKind::gated && op_.kind != OpKind::head; ++i) {
      if (is_layers(layer(i).activation)) continue;
      fail(named(i) + ": activation: expected 0 to 2, got " + std::to_string(static_cast<int>(layer(i).activation)));
    }
    check_choice("activation", op_.activation, Activation::mish);
    check_curve();
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
    if (op_.residual && op_.kind != OpKind::block && op_.kind != OpKind::gated) {
      fail("residual: only a block adds its input to its output");
    }
  }

  // Numbers that only some kinds have.
  void check_curve() const {
    if (!std::isfinite(op_.alpha) || !std::isfinite(op_.beta)) {
      fail("alpha, beta: expected finite numbers, got " + std::to_string(op_.alpha) + ", " + std::to_string(op_.beta));
    }
    if (op_.bits != 0 && (op_.bits < 2 || op_.bits > 8)) {
      fail("bits: expected 0 or 2 to 8, got " + std::to_string(op_.bits));
    }
    check_choice("resampling", op_.resampling, Resampling::linear_corners);
    check_choice("drop_unit", op_.drop_unit, DropUnit::image);
    check_choice("reduction", op_.reduction, Reduction::all_largest);
    for (double scale : {op_.scale_h, op_.scale_w}) {
      if (scale == 0 || (scale >= 1e-6 && scale <= 1e6)) continue;
      fail("scale_h, scale_w: expected 0 or a number from 1e-6 to 1e6, got " + std::to_string(scale));
    }
    check_size(name_, "groups", op_.groups, 1);
  }

  // The second input may have one pixel, one channel, or one row, for all of the first.
  void check_spread() const {
    const ValueSpec &a = input(0), &b = input(1);
    const auto fits = [](Index one, Index other) { return other == one || other == 1; };
    if (fits(a.height, b.height) && fits(a.width, b.width) && fits(a.channels, b.channels)) return;
    fail("its second input: expected " + text(a) + " or 1 in place of a side, got " + text(b));
  }

  void check_concat() const {
    Index channels = 0;
    for (std::size_t i = 0; i < op_.inputs.size(); ++i) {
      expect("its input", input(i), {output().height, output().width, input(i).channels});
      channels += input(i).channels;  // of at most 2^20 inputs, each below 2^31
    }
    expect("its output", output(), {output().height, output().width, channels});
  }

  void check_map(const char* what, Index count) const {
    for (int c : op_.map) {
      if (c >= 0 && c < count) continue;
      fail(std::string("map: expected ") + what + " from 0 to " + std::to_string(count - 1) + ", got " +
           std::to_string(c));
    }
  }

  void check_channelwise() const {
    check_maps(layer(0).shape);
    const LayerSpec& l = layer(0);
    if (l.has_norm && op_.kind != OpKind::norm) fail(named(0) + ": only a norm has statistics");
    if (l.activation != Activation::identity && op_.kind == OpKind::prelu) {
      fail(named(0) + ": activation: a prelu is one");
    }
    if (op_.kind == OpKind::group_norm && input(0).channels % op_.groups != 0) {
      fail("groups: expected a divisor of " + std::to_string(input(0).channels) + " channels, got " +
           std::to_string(op_.groups));
    }
  }

  void check_keep() const {
    if (op_.keep == Keep::masks) return;
    check_choice("keep", op_.keep, Keep::input8);
    if (op_.kind != OpKind::block) fail("keep: only a block keeps its input");
    if (op_.keep == Keep::input8 && op_.layers.size() < 3) fail("keep: only a block that expands keeps 8 bits");
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

  void check_gated() const {
    const GatedLayers parts(op_);
    if (parts.expand >= 0) check_pointwise(0);
    check_depthwise(parts.expand >= 0 ? 1 : 0);
    const std::size_t last = op_.layers.size() - 1;
    check_pointwise(last);
    if (layer(last).activation != Activation::identity) fail(named(last) + ": a block's projection has no activation");
    const auto shape = [&](int id) { return spec_.layers[static_cast<std::size_t>(id)].shape; };
    const ConvShape filter = shape(parts.depthwise);
    expect("its input", input(0), input_of(layer(0).shape));
    if (parts.expand >= 0) expect("what is filtered", output_of(shape(parts.expand)), input_of(filter));
    expect("what is projected", input_of(shape(parts.project)), output_of(filter));
    expect("its output", output(), output_of(shape(parts.project)));
    if (parts.reduce >= 0) {
      for (std::size_t i : {last - 2, last - 1}) {
        check_pointwise(i);
        if (layer(i).has_norm) fail(named(i) + ": a gate has no batch norm");
      }
      expect("what the gate reads", input_of(shape(parts.reduce)), {1, 1, filter.out});
      expect("what the gate restores", input_of(shape(parts.restore)), output_of(shape(parts.reduce)));
      expect("the gate", output_of(shape(parts.restore)), {1, 1, filter.out});
    }
    if (op_.residual) expect("its input, which a residual adds to the output", input(0), output());
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
