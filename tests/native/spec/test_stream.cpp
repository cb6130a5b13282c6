// The order in which a stream makes its rows, against what windows reach by definition.
#include <string>

#include "check.h"
#include "core/random.h"
#include "program_cases.h"
#include "spec/stream.h"

using namespace sparsebp;

namespace {

Index length(Range r) { return r.end - r.begin; }

// Draws of one test, a pure function of its number.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : seed_(seed) {}
  Index from(Index least, Index most) {
    return least + static_cast<Index>(random_unit(seed_, turn_++) * static_cast<double>(most - least + 1));
  }

 private:
  std::uint64_t seed_, turn_ = 0;
};

// Does an input row lie in the window of an output row.
bool reaches(const ConvShape& s, Index out, Index in) {
  for (Index tap = 0; tap < s.kernel_h; ++tap) {
    if (out * s.stride_h - s.pad_h + tap * s.dilation_h == in) return true;
  }
  return false;
}

// Some depthwise convolutions, one behind the other, as the stream that is all of the prefix; a convolution trains.
// Windows may lie wholly in the padding.
ProgramSpec chain(Draws& draws, Index ops, Index first) {
  Builder b(Options(), {draws.from(1, 33), 5, 16});
  int value = 0;
  for (Index i = 0; i < first + ops; ++i) {
    const Index height = b.spec.values.back().height;
    const int layer = b.layer(16, 16, 5, 1, 1, 16, Activation::relu, 0);
    ConvShape& s = b.spec.layers.back().shape;
    s.height = height;
    do {
      s.kernel_h = draws.from(1, 5), s.stride_h = draws.from(1, 4), s.dilation_h = draws.from(1, 3);
      s.pad_h = draws.from(0, 6);
      s.out_height = (height + 2 * s.pad_h - s.dilation_h * (s.kernel_h - 1) - 1) / s.stride_h + 1;
    } while (height + 2 * s.pad_h < s.dilation_h * (s.kernel_h - 1) + 1);
    value = b.conv(value, layer, OpKind::depthwise);
    if (i >= first) b.last().forward_rows = draws.from(0, 6);
  }
  b.spec.span_begin = static_cast<int>(first + ops);
  b.spec.streams = {{static_cast<int>(first), b.spec.span_begin}};
  return b.spec;
}

// Looks on while a stream is walked.
struct Watch {
  const StreamWalk& walk;
  const ProgramSpec& spec;
  const StreamSpec& stream;
  std::vector<Range> held = {};  // by op, as the calls tell it
  std::vector<Index> next = {};  // by op, the output row behind the last one made
  std::vector<StreamRows> most = {};
  Index read_to = 0, made = 0;  // behind the last row of the images, and of the stream's output

  Watch(const StreamWalk& own, const ProgramSpec& of, const StreamSpec& which)
      : walk(own), spec(of), stream(which), held(size(), {0, 0}), next(size(), 0), most(size()) {}

  std::size_t size() const { return static_cast<std::size_t>(walk.size()); }
  const OpSpec& op(int i) const { return spec.ops[static_cast<std::size_t>(stream.first + i)]; }

  void drop(int i, Range rows, Index begin) {
    Range& own = held[static_cast<std::size_t>(i)];
    CHECK(rows.begin == own.begin && rows.end == own.end);
    CHECK(begin > rows.begin && begin <= walk.window(i).height);
    own = {begin, std::max(begin, own.end)};
  }
  void read(Range rows, Range wanted) {
    Range& own = held[0];
    CHECK(walk.holds(0));
    CHECK(rows.begin == own.begin && rows.end == own.end);
    CHECK(wanted.begin == own.end && length(wanted) > 0 && wanted.end <= walk.window(0).height);
    CHECK(wanted.begin >= read_to);
    read_to = own.end = wanted.end;
  }
  void make(int i, Range rows, Range out) {
    const auto index = static_cast<std::size_t>(i);
    const ConvShape& s = walk.window(i);
    CHECK(out.begin >= next[index] && length(out) > 0 && out.end <= s.out_height);
    CHECK(op(i).forward_rows == 0 || length(out) <= op(i).forward_rows);
    next[index] = out.end;
    const bool holds = i > 0 || stream.first == 0;
    CHECK_EQUAL(walk.holds(i), holds);
    if (holds) CHECK(rows.begin == held[index].begin && rows.end == held[index].end);
    if (!holds) CHECK(rows.begin == 0 && rows.end == s.height);
    Index spanned = 0;  // rows from the first window's top to the last one's bottom
    for (Index in = 0; in < s.height; ++in) {
      bool wanted = false;
      for (Index o = out.begin; o < out.end; ++o) wanted |= reaches(s, o, in);
      if (wanted) CHECK(in >= rows.begin && in < rows.end);
      const Index top = out.begin * s.stride_h - s.pad_h, bottom = (out.end - 1) * s.stride_h - s.pad_h;
      spanned += in >= top && in <= bottom + s.dilation_h * (s.kernel_h - 1) ? 1 : 0;
    }
    if (holds) CHECK_EQUAL(length(rows), spanned);
    most[index].held = std::max(most[index].held, spanned);
    most[index].made = std::max(most[index].made, length(out));
    if (i + 1 < walk.size()) {
      Range& behind = held[index + 1];
      CHECK_EQUAL(out.begin, behind.end);
      behind.end = out.end;
    } else {
      CHECK_EQUAL(out.begin, made);
      made = out.end;
    }
  }
};

}  // namespace

TEST(a_stream_makes_every_row_once_and_in_order_from_rows_that_it_holds) {
  const int chains = brief() ? 300 : 3000;
  for (int seed = 0; seed < chains; ++seed) {
    Draws draws(static_cast<std::uint64_t>(seed));
    const Index ops = draws.from(1, 6), first = draws.from(0, 1);
    const ProgramSpec spec = chain(draws, ops, first);
    check::about("chain %d", seed);
    StreamWalk walk(spec, spec.streams[0]);
    const std::vector<StreamRows> planned = stream_rows(walk);
    for (int image = 0; image < 2; ++image) {
      Watch watch(walk, spec, spec.streams[0]);
      walk.run(watch);
      CHECK_EQUAL(watch.made, walk.window(walk.size() - 1).out_height);
      for (std::size_t i = 0; i < planned.size(); ++i) {
        CHECK_EQUAL(planned[i].held, watch.most[i].held);
        CHECK_EQUAL(planned[i].made, watch.most[i].made);
      }
    }
  }
}

// With windows that overlap and no padding beyond the kernel, each op in between makes each of its rows exactly once.
TEST(a_stream_of_ordinary_convolutions_leaves_no_row_out) {
  for (Index rows : {1, 2, 5}) {
    Builder b(Options(), {37, 37, 16});
    int value = 0;
    for (Index size : {37, 19, 19, 10}) {
      const Index stride = size == 19 && b.spec.ops.size() == 1 ? 1 : 2;
      value = b.conv(value, b.layer(16, 16, size, 3, stride, 16, Activation::relu, 0), OpKind::depthwise);
      b.last().forward_rows = rows;
    }
    b.spec.streams = {{0, 4}};
    StreamWalk walk(b.spec, b.spec.streams[0]);
    struct Count {
      std::vector<Index> next = std::vector<Index>(4, 0);
      Index read_to = 0;
      void drop(int, Range, Index) {}
      void read(Range, Range wanted) {
        CHECK_EQUAL(wanted.begin, read_to);
        read_to = wanted.end;
      }
      void make(int op, Range, Range out) {
        CHECK_EQUAL(out.begin, next[static_cast<std::size_t>(op)]);
        next[static_cast<std::size_t>(op)] = out.end;
      }
    } count;
    walk.run(count);
    CHECK_EQUAL(count.read_to, 37);
    for (int i = 0; i < 4; ++i) CHECK_EQUAL(count.next[static_cast<std::size_t>(i)], walk.window(i).out_height);
  }
}

TEST(images_that_others_read_too_are_not_read_row_by_row) {
  Builder b(Options(), {8, 8, 16});
  const int v = b.conv(0, b.layer(16, 16, 8, 3, 1, 16, Activation::relu, 0), OpKind::depthwise);
  const int w = b.conv(v, b.layer(16, 16, 8, 3, 1, 16, Activation::relu, 0), OpKind::depthwise);
  CHECK(reads_images(b.spec, {0, 2}));
  CHECK(!reads_images(b.spec, {1, 2}));
  b.op(OpKind::add, {w, 0}, {}, {8, 8, 16});
  CHECK(!reads_images(b.spec, {0, 2}));
  CHECK(!StreamWalk(b.spec, {0, 2}).holds(0));
}
