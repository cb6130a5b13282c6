// What a program's numbers and sizes cannot be: each such specification is refused before anything is laid out, and the
// message says what is wrong. (What does not hang together: test_validate_graph.cpp.)
#include <cmath>

#include "core/size_limits.h"
#include "spec/spoilt_specs.h"

using namespace sparsebp;

namespace {

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
      "out_height: expected 2 to 2 (height 2, kernel 1, stride 1, padding 0, dilation 1), got 8");
  for (Index stride : {1, 2, 3}) {
    for (Index kernel : {1, 2, 3, 5}) {
      const ProgramSpec spec = one_convolution(8, kernel, stride);
      // The windows that need no zeros behind, and those that begin before these or need as many as there are in front.
      const Index pad = spec.layers[0].shape.pad_h;
      Index least = 0, most = 0;
      for (Index begin = -pad; begin < 8 + pad; begin += stride) {
        if (begin + kernel <= 8) ++least;
        if (begin < 8 || begin + kernel <= 8 + pad) ++most;
      }
      const std::string range = "expected " + std::to_string(least) + " to ";
      for (Index out : {least - 1, most + 1}) {
        check_refused(
            spec, [&](ProgramSpec& s) { s.values[1].height = s.layers[0].shape.out_height = out; },
            "out_height: " + range);
        check_refused(
            spec, [&](ProgramSpec& s) { s.values[1].width = s.layers[0].shape.out_width = out; },
            "out_width: " + range);
      }
      for (Index out : {least, most}) {
        ProgramSpec wide = spec;
        wide.values[1].width = wide.layers[0].shape.out_width = out;
        CHECK(make_program(wide, false, "") != nullptr);
      }
    }
  }
  check_refused(
      residual(), [](ProgramSpec& s) { s.values[3].height = s.ops[2].window.out_height = 5; },
      "op 2 (pool): window: out_height: expected 3 to 3");
}

TEST(same_padding_with_an_even_reach_has_its_odd_zero_behind) {
  for (Index kernel : {2, 4}) {
    ProgramSpec spec = one_convolution(8, kernel, 1);
    ConvShape& s = spec.layers[0].shape;
    s.pad_h = s.pad_w = (kernel - 1) / 2, s.out_height = s.out_width = 8;
    spec.values[1] = {8, 8, 6};
    CHECK(make_program(spec, false, "") != nullptr);
  }
}
