// Streams and pieces that cannot be: each is refused before anything is laid out, and the message says what is wrong.
#include "spec/spoilt_specs.h"

using namespace sparsebp;

namespace {

// Ops: 0 conv, 1 activation, 2 depthwise, 3 block, 4 add of the last two values, 5 pool, 6 a convolution that trains.
// Streams: 0 and 1, 2.
ProgramSpec prefix() {
  Builder b(Options(), {9, 9, 20});
  int v = b.conv(0, b.layer(20, 20, 9, 3, 1, 1, Activation::identity, 0));
  v = b.op(OpKind::activation, {v}, {}, {9, 9, 20});
  b.last().activation = Activation::relu;
  v = b.conv(v, b.layer(20, 20, 9, 3, 1, 20, Activation::relu, 0), OpKind::depthwise);
  const int w = b.block(v, 20, 6, 20, 9, 1, 0);
  v = b.op(OpKind::add, {w, v}, {}, {9, 9, 20});
  v = b.op(OpKind::pool, {v}, {}, {3, 3, 20});
  ConvShape& window = b.last().window;
  window.in = window.out = 20, window.height = window.width = 9, window.out_height = window.out_width = 3;
  window.kernel_h = window.kernel_w = window.stride_h = window.stride_w = 3;
  b.spec.span_begin = 6;
  b.conv(v, b.layer(20, 6, 3, 1, 1, 1, Activation::relu, 2));
  b.spec.scope = Scope::step, b.spec.pictures = true;
  b.spec.streams = {{0, 2}, {2, 3}};
  return b.spec;
}

Spoil streams(std::vector<StreamSpec> all) {
  return [all](ProgramSpec& s) { s.streams = all; };
}

}  // namespace

TEST(streams_that_can_be_are_taken) {
  for (const std::vector<StreamSpec>& all :
       {std::vector<StreamSpec>{}, {{0, 1}}, {{0, 3}}, {{1, 3}}, {{3, 4}}, {{0, 2}, {2, 3}, {3, 4}}}) {
    ProgramSpec spec = prefix();
    spec.streams = all;
    CHECK(make_program(spec, false, "") != nullptr);
    spec.scope = Scope::training, spec.pictures = false;
    CHECK(make_program(spec, false, "") != nullptr);
  }
}

TEST(streams_lie_in_front_of_the_span_one_behind_the_other) {
  const ProgramSpec spec = prefix();
  check_refused(spec, streams({{-1, 2}}),
                "stream 0: expected at most 256 ops from 0 on, before the span, op 6; got -1");
  check_refused(spec, streams({{0, 0}}),
                "stream 0: expected at most 256 ops from 0 on, before the span, op 6; got 0 to 0");
  check_refused(spec, streams({{2, 1}}), "got 2 to 1");
  check_refused(spec, streams({{0, 7}}), "got 0 to 7");
  check_refused(spec, streams({{0, 1 << 30}}), "stream 0: expected");
  check_refused(spec, streams({{std::numeric_limits<int>::min(), 1 << 30}}), "stream 0: expected");
  check_refused(spec, streams({{0, 2}, {1, 3}}),
                "stream 1: expected at most 256 ops from 2 on, before the span, op 6; got 1");
  check_refused(spec, streams({{2, 3}, {0, 2}}), "stream 1: expected at most 256 ops from 3 on");
}

TEST(streams_have_ops_that_make_rows_and_one_reader_each) {
  const ProgramSpec spec = prefix();
  check_refused(spec, streams({{4, 5}}), "stream 0: op 4 makes its output whole");
  check_refused(spec, streams({{0, 2}, {4, 6}}), "stream 1: op 4 makes its output whole");
  // Value 3, which op 2 makes, is read by the block and by the addition.
  check_refused(spec, streams({{2, 4}}), "stream 0: op 3: expected it to be the only reader of value 3");
  ProgramSpec apart = spec;  // op 1 reads what is before op 0 as well
  apart.ops[1].inputs = {0};
  apart.ops[4].inputs = {4, 1};
  check_refused(apart, streams({{0, 2}}), "stream 0: op 1: expected it to be the only reader of value 1");
}

TEST(streams_are_no_longer_than_calls_may_be_deep) {
  Builder b(Options(), {4, 4, 1});
  int v = 0;
  for (int i = 0; i < 258; ++i) {
    v = b.op(OpKind::activation, {v}, {}, {4, 4, 1});
    b.last().activation = Activation::relu;
  }
  b.spec.span_begin = 258;
  b.conv(v, b.layer(1, 1, 4, 1, 1, 1, Activation::relu, 1));
  b.spec.streams = {{0, 256}};
  CHECK(make_program(b.spec, false, "") != nullptr);
  check_refused(b.spec, streams({{0, 257}}), "stream 0: expected at most 256 ops");
}

TEST(streams_have_rows_that_can_be_walked) {
  Builder b(Options(), {1 << 17, 1, 1});
  int v = b.op(OpKind::activation, {0}, {}, {1 << 17, 1, 1});
  b.last().activation = Activation::relu;
  b.spec.span_begin = 1;
  b.conv(v, b.layer(1, 1, 1, 1, 1, 1, Activation::relu, 1));
  ConvShape& s = b.spec.layers[0].shape;
  s.height = s.out_height = 1 << 17;
  b.spec.values.back().height = 1 << 17;
  CHECK(make_program(b.spec, false, "") != nullptr);
  check_refused(b.spec, streams({{0, 1}}), "stream 0: op 0: height: expected 1 to 65536, got 131072");
}

TEST(pictures_lie_where_the_whole_step_does) {
  check_refused(
      prefix(), [](ProgramSpec& s) { s.scope = Scope::training; },
      "pictures: only a budget that covers the whole step holds them");
}

TEST(pieces_have_rows_and_panels_in_a_stream_also_half_ones) {
  const ProgramSpec spec = prefix();
  const auto op = [](std::size_t i, auto change) { return [=](ProgramSpec& s) { change(s.ops[i]); }; };
  for (Index block : {Index{-16}, Index{1}, Index{15}, Index{17}, kMost}) {
    check_refused(spec, op(3, [block](OpSpec& o) { o.forward_block = block; }),
                  "op 3 (block): forward_block: expected a multiple of 8, got " + std::to_string(block));
  }
  check_refused(spec, op(3, [](OpSpec& o) { o.forward_block = 8; }),
                "op 3: forward_block: expected a multiple of 16 outside a stream, got 8");
  for (Index rows : {Index{-1}, kMost}) {
    check_refused(spec, op(2, [rows](OpSpec& o) { o.forward_rows = rows; }),
                  "op 2 (depthwise): forward_rows: expected");
  }
}
