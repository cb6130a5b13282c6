// What a program cannot be: every specification that does not hang together is refused before anything is laid out, and
// the message says what is wrong.
#include <cmath>
#include <functional>
#include <limits>

#include "check.h"
#include "core/error.h"
#include "core/size_limits.h"
#include "program_cases.h"

using namespace sparsebp;

namespace {

constexpr Index kMost = std::numeric_limits<Index>::max();

using Spoil = std::function<void(ProgramSpec&)>;

void check_refused(const ProgramSpec& valid, const Spoil& spoil, const std::string& words) {
  ProgramSpec spec = valid;
  spoil(spec);
  check::about(words.c_str());
  CHECK_THROWS(InvalidArgument, make_program(spec, false, ""), words);
}

ProgramSpec one_convolution(Index size, Index kernel, Index stride) {
  Builder b(Options(), {size, size, 4});
  b.spec.span_begin = 0;
  b.conv(0, b.layer(4, 6, size, kernel, stride, 1, Activation::relu, 2));
  return b.spec;
}

// Ops: 0 conv, 1 add of its input and output, 2 pool.
ProgramSpec residual() {
  Builder b(Options(), {6, 6, 4});
  b.spec.span_begin = 0;
  const int v = b.conv(0, b.layer(4, 4, 6, 3, 1, 1, Activation::relu, 2));
  b.op(OpKind::add, {v, 0}, {}, {6, 6, 4});
  b.op(OpKind::pool, {2}, {}, {3, 3, 4});
  ConvShape& w = b.last().window;
  w.in = w.out = 4, w.height = w.width = 6, w.out_height = w.out_width = 3;
  w.kernel_h = w.kernel_w = w.stride_h = w.stride_w = 2;
  return b.spec;
}

ProgramSpec one_block() {
  Builder b(Options(), {9, 9, 20});
  b.spec.span_begin = 0;
  b.block(0, 20, 6, 20, 9, 1, 5);
  return b.spec;
}

ProgramSpec one_head() {
  Builder b(Options(), {8, 8, 16});
  b.spec.span_begin = 0;
  b.op(OpKind::head, {0}, {b.layer(16, 32, 8, 1, 1, 1, Activation::relu6, 5)}, {1, 1, 32});
  return b.spec;
}

void make_huge(ConvShape& s, Index size) {
  s.height = s.width = s.out_height = s.out_width = size;
  s.kernel_h = s.kernel_w = 1, s.pad_h = s.pad_w = 0;
}

}  // namespace

TEST(what_is_spoilt_below_is_valid_before) {
  for (const ProgramSpec& spec : {one_convolution(8, 3, 1), residual(), one_block(), one_head()}) {
    CHECK(make_program(spec, false, "")->training_layout().peak() > 0);
  }
}

TEST(a_program_has_ops_and_sensible_numbers) {
  const ProgramSpec spec = residual();
  check_refused(
      spec, [](ProgramSpec& s) { s.ops.clear(); }, "ops: a program needs at least one");
  check_refused(
      spec, [](ProgramSpec& s) { s.values.clear(); }, "values: a program needs");
  for (Index batch : {Index{0}, Index{-1}, kMost, Index{1} << 31}) {
    check_refused(
        spec, [&](ProgramSpec& s) { s.batch = batch; }, "batch: expected 1 to 2147483647, got");
  }
  for (int id : {-1, 4, 1 << 30}) {
    check_refused(
        spec, [&](ProgramSpec& s) { s.input = id; }, "input: expected 0 to 3, got " + std::to_string(id));
    check_refused(
        spec, [&](ProgramSpec& s) { s.output = id; }, "output: expected 0 to 3, got " + std::to_string(id));
    check_refused(
        spec, [&](ProgramSpec& s) { s.span_begin = id; }, "span_begin: expected 0 to 2, got");
  }
}

TEST(sizes_are_positive_and_not_beyond_measure) {
  const ProgramSpec spec = one_convolution(8, 3, 1);
  for (Index size : {Index{0}, Index{-3}, Index{1} << 31, kMost}) {
    check_refused(
        spec, [&](ProgramSpec& s) { s.values[0].height = size; }, "value 0: height: expected 1 to 2147483647");
    check_refused(
        spec, [&](ProgramSpec& s) { s.values[1].channels = size; }, "value 1: channels: expected 1 to");
    for (Index ConvShape::*number :
         {&ConvShape::in, &ConvShape::out, &ConvShape::groups, &ConvShape::height, &ConvShape::out_width,
          &ConvShape::kernel_h, &ConvShape::stride_w, &ConvShape::dilation_h}) {
      check_refused(
          spec, [&](ProgramSpec& s) { s.layers[0].shape.*number = size; }, "expected 1 to 2147483647, got");
    }
  }
  check_refused(
      spec, [](ProgramSpec& s) { s.layers[0].shape.pad_h = -1; }, "pad_h: expected 0 to 2147483647, got -1");
}

TEST(products_of_sizes_do_not_wrap_around) {
  const ProgramSpec spec = one_convolution(8, 1, 1);
  const Index half = Index{1} << 30, most = kMostSize;
  const auto of_size = [](Index size) {
    return [size](ProgramSpec& s) {
      make_huge(s.layers[0].shape, size);
      for (ValueSpec& v : s.values) v.height = v.width = size;
    };
  };
  for (Index size : {half, most, Index{1} << 24}) check_refused(spec, of_size(size), "value 0: numbers in a batch");
  check_refused(
      spec, [&](ProgramSpec& s) { s.batch = most, of_size(1 << 10)(s); }, "value 0: numbers in a batch");
  // A step between taps counts where there is one tap only, too; and so does a border.
  check_refused(
      spec, [&](ProgramSpec& s) { s.layers[0].shape.dilation_h = s.layers[0].shape.dilation_w = most; },
      "numbers in a batch of padded inputs");
  check_refused(
      spec,
      [&](ProgramSpec& s) {
        ConvShape& c = s.layers[0].shape;
        c.pad_h = c.pad_w = most, c.stride_h = c.stride_w = most, c.out_height = c.out_width = 3;
      },
      "numbers in a batch of padded inputs");
  check_refused(
      spec,
      [&](ProgramSpec& s) {
        s.values[0] = {1, 1, most}, s.values[1] = {1, 1, most};
        s.layers[0].shape = ConvShape{}, s.layers[0].shape.in = s.layers[0].shape.out = most;
      },
      "layer 0 (layer0): weights: expected at most");
  check_refused(
      spec,
      [&](ProgramSpec& s) {
        const Index wide = Index{1} << 23;
        make_huge(s.layers[0].shape, Index{1} << 11);
        s.layers[0].shape.in = s.layers[0].shape.out = wide;
        s.values[0] = s.values[1] = {Index{1} << 11, Index{1} << 11, wide};
      },
      "multiply-adds of a pass");
  check_refused(
      residual(),
      [&](ProgramSpec& s) {
        ConvShape& w = s.ops[2].window;
        w.kernel_h = w.stride_h = w.kernel_w = w.stride_w = Index{1} << 24;
        w.height = w.width = Index{1} << 25, w.out_height = w.out_width = 2;
      },
      "numbers in a batch of padded inputs");
}

TEST(what_all_layers_need_together_does_not_wrap_around) {
  Builder b(Options{false, true}, {1, 1, 1 << 23});  // sums of 2^46 gradients a layer
  b.spec.batch = 1;
  int v = 0;
  for (int i = 0; i < (1 << 15); ++i) {
    v = b.conv(v, b.layer(1 << 23, 1 << 23, 1, 1, 1, 1, Activation::identity, 1 << 23, false));
  }
  CHECK_THROWS(InvalidArgument, make_program(b.spec, false, ""), "no process can have");
}

TEST(output_sizes_follow_from_the_geometry) {
  check_refused(
      one_convolution(8, 1, 1),
      [](ProgramSpec& s) {
        s.layers[0].shape.height = s.layers[0].shape.width = 2;
        s.values[0] = {2, 2, 4};
      },
      "out_height: expected 2 (height 2, kernel 1, stride 1, padding 0, dilation 1), got 8");
  for (Index stride : {1, 2, 3}) {
    for (Index kernel : {1, 2, 3, 5}) {
      for (Index off : {-1, 1}) {
        const ProgramSpec spec = one_convolution(8, kernel, stride);
        check_refused(
            spec, [&](ProgramSpec& s) { s.values[1].height = s.layers[0].shape.out_height += off; },
            "out_height: expected " + std::to_string(spec.layers[0].shape.out_height));
        check_refused(
            spec, [&](ProgramSpec& s) { s.values[1].width = s.layers[0].shape.out_width += off; },
            "out_width: expected " + std::to_string(spec.layers[0].shape.out_width));
      }
    }
  }
  check_refused(
      one_convolution(8, 3, 1), [](ProgramSpec& s) { s.layers[0].shape.dilation_w = 5; },
      "the window is larger than the padded input (width 8, kernel 3, stride 1, padding 1, dilation 5)");
  check_refused(
      residual(), [](ProgramSpec& s) { s.values[3].height = s.ops[2].window.out_height = 4; },
      "op 2 (pool): window: out_height: expected 3");
}

TEST(same_padding_with_an_even_reach_has_its_odd_zero_behind) {
  for (Index kernel : {2, 4}) {
    ProgramSpec spec = one_convolution(8, kernel, 1);
    ConvShape& s = spec.layers[0].shape;
    s.pad_h = s.pad_w = (kernel - 1) / 2, s.out_height = s.out_width = 8;
    spec.values[1] = {8, 8, 6};
    CHECK(make_program(spec, false, "") != nullptr);
  }
  // A pooling has none.
  check_refused(
      residual(),
      [](ProgramSpec& s) {
        ConvShape& w = s.ops[2].window;
        w.stride_h = w.stride_w = 1, w.out_height = w.out_width = 6;
        s.values[3] = {6, 6, 4};
      },
      "out_height: expected 5");
}

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
