// What a program's layers, ops and values cannot be to each other: each such specification is refused before anything
// is laid out, and the message says what is wrong.
#include "spec/spoilt_specs.h"

using namespace sparsebp;

TEST(layers_are_whole) {
  const ProgramSpec spec = one_convolution(8, 3, 1);
  const auto layer = [](auto change) { return [change](ProgramSpec& s) { change(s.layers[0]); }; };
  check_refused(spec, layer([](LayerSpec& l) { l.shape.groups = 3; }),
                "groups: expected a divisor of 4 input and 6 output");
  check_refused(spec, layer([](LayerSpec& l) { l.shape.groups = 4; }),
                "groups: expected a divisor of 4 input and 6 output");
  check_refused(spec, layer([](LayerSpec& l) { l.selected = -1; }), "selected: expected 0 to 4, got -1");
  check_refused(spec, layer([](LayerSpec& l) { l.selected = 5; }), "selected: expected 0 to 4, got 5");
  for (double eps : {-1e-5, std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    check_refused(spec, layer([eps](LayerSpec& l) { l.eps = eps; }), "eps: expected a finite number of at least 0");
  }
  check_refused(spec, layer([](LayerSpec& l) { l.activation = static_cast<Activation>(3); }),
                "layer 0 (layer0): activation: expected 0 to 2, got 3");
}

TEST(ops_have_as_many_inputs_and_layers_as_their_kind) {
  const ProgramSpec spec = residual();
  const auto op = [](std::size_t i, auto change) { return [=](ProgramSpec& s) { change(s.ops[i]); }; };
  check_refused(spec, op(0, [](OpSpec& o) { o.kind = static_cast<OpKind>(99); }), "op 0: unknown kind 99");
  check_refused(spec, op(0, [](OpSpec& o) { o.inputs = {}; }), "op 0 (conv): inputs: expected 1, got 0");
  check_refused(spec, op(0, [](OpSpec& o) { o.inputs = {0, 0}; }), "op 0 (conv): inputs: expected 1, got 2");
  check_refused(spec, op(1, [](OpSpec& o) { o.inputs = {1}; }), "op 1 (add): inputs: expected 2, got 1");
  check_refused(spec, op(0, [](OpSpec& o) { o.layers = {}; }), "op 0 (conv): layers: expected 1, got 0");
  check_refused(spec, op(0, [](OpSpec& o) { o.layers = {0, 99}; }), "op 0 (conv): layers: expected 1, got 2");
  check_refused(spec, op(1, [](OpSpec& o) { o.layers = {99}; }), "op 1 (add): layers: expected 0, got 1");
  check_refused(spec, op(2, [](OpSpec& o) { o.layers = {0}; }), "op 2 (pool): layers: expected 0, got 1");
  for (int id : {-1, 4, 1 << 30}) {
    check_refused(spec, op(1, [id](OpSpec& o) { o.inputs[1] = id; }), "op 1 (add): inputs: there is no");
    check_refused(spec, op(1, [id](OpSpec& o) { o.output = id; }), "op 1 (add): output: there is no");
    check_refused(spec, op(0, [id](OpSpec& o) { o.layers[0] = id; }), "op 0 (conv): layers: there is no");
  }
  for (Index block : {Index{0}, Index{-16}, Index{15}, kMost}) {
    check_refused(spec, op(0, [block](OpSpec& o) { o.block = block; }), "block: expected a positive multiple of 16");
  }
  for (double drop : {-0.1, 1.1, std::nan("")}) {
    check_refused(spec, op(1, [drop](OpSpec& o) { o.drop = drop; }), "drop: expected a probability from 0 to 1");
  }
  check_refused(spec, op(1, [](OpSpec& o) { o.activation = static_cast<Activation>(200); }), "activation: expected");
  check_refused(spec, op(0, [](OpSpec& o) { o.residual = true; }), "residual: only a block");
  check_refused(one_block(), op(0, [](OpSpec& o) { o.layers.pop_back(), o.layers.pop_back(); }),
                "op 0 (block): layers: expected 2 or 3, got 1");
}

TEST(values_have_the_shapes_that_ops_read_and_make) {
  check_refused(
      one_convolution(8, 3, 1), [](ProgramSpec& s) { s.values[0].channels = 5; },
      "op 0 (conv): its input: expected 8x8x4, got 8x8x5");
  check_refused(
      one_convolution(8, 3, 1), [](ProgramSpec& s) { s.values[1].width = 7; },
      "op 0 (conv): its output: expected 8x8x6, got 8x7x6");
  check_refused(
      one_head(),
      [](ProgramSpec& s) {
        s.values[0] = {1, 1, 1};
      },
      "op 0 (head): its input: expected 8x8x16, got 1x1x1");
  check_refused(
      one_head(), [](ProgramSpec& s) { s.values[1].height = 8; }, "pooled to one pixel: expected 1x1x32");
  check_refused(
      one_head(), [](ProgramSpec& s) { s.layers[0].shape.groups = 2; }, "expected a pointwise convolution");
  check_refused(
      residual(), [](ProgramSpec& s) { s.values[0].height = 1; }, "its input: expected 6x6x4, got 1x6x4");
  check_refused(
      residual(), [](ProgramSpec& s) { s.values[2].width = 5; }, "op 1 (add): its input: expected 6x5x4");
  check_refused(
      residual(), [](ProgramSpec& s) { s.ops[0].kind = OpKind::depthwise; },
      "op 0 (depthwise): layer 0 (layer0): expected a depthwise convolution, got 4 to 4 channels in 1 groups");
}

TEST(windows_of_a_pooling_hold_a_pixel) {
  const auto window = [](auto change) { return [change](ProgramSpec& s) { change(s.ops[2].window); }; };
  check_refused(residual(), window([](ConvShape& w) { w.pad_h = 2, w.out_height = 5; }),
                "pad_h: expected 0 to 1, got 2");
  check_refused(residual(), window([](ConvShape& w) { w.dilation_w = 2, w.out_width = 2; }), "dilation_w: expected 1");
  check_refused(residual(), window([](ConvShape& w) { w.out = 8; }), "out: pooling keeps the channels, expected 4");
  check_refused(residual(), window([](ConvShape& w) { w.groups = 2; }), "groups: expected 1 to 1, got 2");
  check_refused(residual(), window([](ConvShape& w) { w.kernel_h = 0; }), "window: kernel_h: expected 1");
}

TEST(the_layers_of_a_block_follow_each_other) {
  const auto shape = [](std::size_t l, auto change) { return [=](ProgramSpec& s) { change(s.layers[l].shape); }; };
  check_refused(one_block(), shape(1, [](ConvShape& s) { s.groups = 60; }), "expected a depthwise convolution");
  check_refused(one_block(), shape(2, [](ConvShape& s) { s.groups = 2; }), "expected a pointwise convolution");
  check_refused(one_block(), shape(1, [](ConvShape& s) { s.height = s.out_height = 90; }),
                "layer 1 (layer1): reads 90x9x120, the layer before makes 9x9x120");
  check_refused(one_block(), shape(2, [](ConvShape& s) { s.in = 119; }),
                "reads 9x9x119, the layer before makes 9x9x120");
  check_refused(one_block(), shape(0, [](ConvShape& s) { s.out = 60; }),
                "reads 9x9x120, the layer before makes 9x9x60");
  check_refused(
      one_block(), [](ProgramSpec& s) { s.layers[2].activation = Activation::relu; }, "has no activation");
  check_refused(
      one_block(), [](ProgramSpec& s) { s.layers[2].shape.out = s.values[1].channels = 24; },
      "its input, which a residual adds to the output: expected 9x9x24, got 9x9x20");
}

TEST(values_are_made_once_before_they_are_read_and_layers_run_once) {
  const ProgramSpec spec = residual();
  check_refused(
      spec, [](ProgramSpec& s) { s.ops[0].inputs = {2}; }, "op 0: reads a value before it exists, value 2");
  check_refused(
      spec, [](ProgramSpec& s) { s.ops[1].output = 0; }, "op 1: writes a value twice, value 0");
  check_refused(
      spec, [](ProgramSpec& s) { s.ops[1].output = 1; }, "op 1: writes a value twice, value 1");
  check_refused(
      spec,
      [](ProgramSpec& s) {
        s.ops[1].inputs = {0, 0};
      },
      "op 0: nothing reads its value");
  check_refused(
      spec, [](ProgramSpec& s) { s.output = 1; }, "output: expected the last op's value, 3, got 1");
  check_refused(
      spec,
      [](ProgramSpec& s) {
        s.values.push_back({1, 1, 1});
      },
      "value 4: no op makes it");
  check_refused(
      spec, [](ProgramSpec& s) { s.layers.push_back(s.layers[0]); }, "layer 1: no op runs it");
  check_refused(
      spec,
      [](ProgramSpec& s) {
        s.ops[1] = s.ops[0];
        s.ops[1].inputs = {1}, s.ops[1].output = 2;
      },
      "op 1: layers: layer 0 belongs to op 0 already");
  check_refused(
      one_block(),
      [](ProgramSpec& s) {
        s.layers[0] = s.layers[2];
        s.ops[0].layers = {2, 1, 2};
        s.layers[2].shape.in = s.layers[2].shape.out = s.layers[1].shape.in = s.layers[1].shape.out = 20;
        s.layers[1].shape.groups = 20;
      },
      "op 0: layers: layer 2 belongs to op 0 already");
}
