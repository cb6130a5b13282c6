// The strips of a forward pass, walked in order: what they cover, what they hold, what they take over.
#include "check.h"
#include "program/ops/strips.h"

using namespace sparsebp;

namespace {

// What a filter of one size does to an image.
struct Filter {
  Index kernel, stride, pad, dilation;
  Index span() const { return dilation * (kernel - 1) + 1; }
  Index outputs(Index size) const { return (size + 2 * pad - span()) / stride + 1; }
  bool fits(Index size) const { return size + 2 * pad >= span(); }
};

ConvShape depthwise(Index height, Index width, Index channels, const Filter& f) {
  ConvShape s;
  s.in = s.out = s.groups = channels;
  s.height = height, s.width = width, s.out_height = f.outputs(height), s.out_width = f.outputs(width);
  s.kernel_h = s.kernel_w = f.kernel, s.stride_h = s.stride_w = f.stride;
  s.pad_h = s.pad_w = f.pad, s.dilation_h = s.dilation_w = f.dilation;
  return s;
}

Index length(Range r) { return r.end - r.begin; }

// The input rows that the windows of some output rows reach, by definition; {0, 0} if none.
Range rows_of_windows(const ConvShape& s, Range out) {
  Range rows{0, 0};
  for (Index oy = out.begin; oy < out.end; ++oy) {
    for (Index tap = 0; tap < s.kernel_h; ++tap) {
      const Index iy = oy * s.stride_h - s.pad_h + tap * s.dilation_h;
      if (iy < 0 || iy >= s.height) continue;
      rows = length(rows) == 0 ? Range{iy, iy + 1} : Range{std::min(rows.begin, iy), std::max(rows.end, iy + 1)};
    }
  }
  return rows;
}

// A pass over `images` images, of which `channels` are expanded at once, in strips of `rows` rows or of what a cache
// holds (0).
void check_walk(const ConvShape& s, Index channels, Index rows, Index bytes, Index images) {
  const Strips strips(s, channels, rows, bytes);
  const bool keeps = channels == s.in;
  const Index row_bytes = s.width * channels * bytes, image_bytes = s.height * row_bytes;
  const bool whole = rows == 0 ? image_bytes <= kStripBytes : rows >= s.out_height;
  Index image = 0, next_out = 0, next_new = 0;  // where the next strip must go on
  Range before{0, 0};                           // what the last one held of this image
  Index most_held = 0, most_out = 0;
  for (Index i = 0; i < strips.count(images); ++i) {
    const Strip strip = strips.at(i, images);
    CHECK_EQUAL(strip.first_image, image);
    CHECK(strip.images >= 1 && image + strip.images <= images);
    CHECK_EQUAL(strip.out.begin, next_out);
    CHECK(length(strip.out) > 0 && strip.out.end <= s.out_height);
    CHECK(strip.held.begin >= 0 && strip.held.begin <= strip.held.end && strip.held.end <= s.height);

    // With all channels rows are expanded once: the old ones were held before, the new ones follow on. With fewer, rows
    // that two strips reach are expanded for each of them, and none is left out.
    CHECK(strip.old >= 0 && strip.old <= length(strip.held) && strip.shift >= 0);
    if (keeps) {
      CHECK_EQUAL(strip.held.begin + strip.old, next_new);
    } else {
      CHECK(strip.old == 0 && strip.shift == 0);
      CHECK(strip.held.begin <= next_new && strip.held.end >= next_new);
    }
    if (strip.old > 0) {
      CHECK_EQUAL(before.begin + strip.shift, strip.held.begin);
      CHECK(strip.shift + strip.old <= length(before));
    }
    const Range reached = rows_of_windows(s, strip.out);
    if (length(reached) > 0) CHECK(strip.held.begin <= reached.begin && reached.end <= strip.held.end);

    if (whole) {
      CHECK_EQUAL(strip.images, rows > 0 ? 1 : std::min(kStripBytes / image_bytes, images - image));
      CHECK(length(strip.out) == s.out_height && length(strip.held) == s.height);
    } else {
      CHECK_EQUAL(strip.images, 1);
      CHECK(length(strip.out) == 1 || rows > 0 || length(reached) * row_bytes <= kStripBytes);
      CHECK(rows == 0 || length(strip.out) <= rows);
    }
    most_held = std::max(most_held, strip.images * length(strip.held) * s.width);
    most_out = std::max(most_out, strip.images * length(strip.out) * s.out_width);

    before = strip.held, next_new = strip.held.end, next_out = strip.out.end;
    if (next_out == s.out_height) {
      CHECK_EQUAL(next_new, s.height);
      image += strip.images, next_out = next_new = 0, before = {0, 0};
    }
  }
  CHECK_EQUAL(image, images);
  CHECK_EQUAL(next_out, 0);
  if (images == 0) return;
  CHECK_EQUAL(strips.held_pixels(images), most_held);
  CHECK_EQUAL(strips.out_pixels(images), most_out);
}

template <class F>
void every_filter(F f) {
  for (Index kernel : {1, 3, 5}) {
    for (Index stride : {1, 2, 3}) {
      for (Index pad : {0, 1, 2}) {
        for (Index dilation : {1, 2}) f(Filter{kernel, stride, pad, dilation});
      }
    }
  }
}

void check_size(Index height, Index width, Index channels) {
  every_filter([&](const Filter& f) {
    if (!f.fits(height) || !f.fits(width)) return;
    check::about("%d x %d x %d, kernel %d, stride %d, padding %d, dilation %d", static_cast<int>(height),
                 static_cast<int>(width), static_cast<int>(channels), static_cast<int>(f.kernel),
                 static_cast<int>(f.stride), static_cast<int>(f.pad), static_cast<int>(f.dilation));
    const ConvShape s = depthwise(height, width, channels, f);
    for (Index images : {0, 1, 3, 8}) {
      check_walk(s, channels, 0, sizeof(float), images);
      check_walk(s, channels, 0, sizeof(double), images);
      check_walk(s, 16, 0, sizeof(float), images);
    }
  });
}

}  // namespace

TEST(strips_cover_every_output_row_once_and_hold_the_rows_that_its_window_reaches) {
  for (Index width : {7, 56}) {
    for (Index channels : {16, 96, 144, 960}) {
      for (Index height = 1; height <= 40; ++height) check_size(height, width, channels);
      check_size(112, width, channels);
    }
  }
}

TEST(strips_of_given_rows_cover_as_much_with_all_channels_and_with_some) {
  for (Index height : {1, 2, 7, 16, 31, 40}) {
    every_filter([&](const Filter& f) {
      if (!f.fits(height)) return;
      const ConvShape s = depthwise(height, 40, 48, f);
      for (Index rows = 1; rows <= s.out_height + 1; ++rows) {
        check::about("height %d, %d rows, kernel %d, stride %d, padding %d, dilation %d", static_cast<int>(height),
                     static_cast<int>(rows), static_cast<int>(f.kernel), static_cast<int>(f.stride),
                     static_cast<int>(f.pad), static_cast<int>(f.dilation));
        for (Index channels : {16, 32, 48}) check_walk(s, channels, rows, sizeof(float), 2);
      }
    });
  }
}

// The layers of MobileNetV2 at 224 x 224 that are worth cutting, so that the walk above has strips to walk.
TEST(a_large_image_is_cut_into_strips_and_small_ones_go_together) {
  const Filter same{3, 1, 1, 1}, half{3, 2, 1, 1};
  CHECK(Strips(depthwise(112, 112, 96, half), 96, 0, sizeof(float)).count(1) > 5);
  CHECK(Strips(depthwise(56, 56, 144, same), 144, 0, sizeof(float)).count(1) > 1);
  CHECK_EQUAL(Strips(depthwise(7, 7, 960, same), 960, 0, sizeof(float)).count(8), 8);
  CHECK_EQUAL(Strips(depthwise(4, 4, 960, same), 960, 0, sizeof(float)).count(8), 2);
}

// Lanes cut an image anywhere and take what lies above the cut anew.
TEST(parts_of_an_image_hold_what_their_windows_reach_and_fit_in_the_room_that_they_were_cut_for) {
  every_filter([&](const Filter& f) {
    for (Index height : {4, 9, 20}) {
      if (!f.fits(height)) continue;
      const ConvShape s = depthwise(height, 12, 16, f);
      const Strips strips(s, 16, 0, sizeof(float));
      for (bool expands : {false, true}) {
        for (Index room = 0; room <= s.pixels() + s.out_pixels(); room += 17) {
          const Index most = strips.most_rows(room, expands);
          CHECK(most >= 0 && most <= s.out_height);
          if (most == 0) continue;
          const Index held = expands ? strips.held_pixels_of(most) : 0;
          CHECK(held + most * s.out_width <= room);
          for (Index begin = 0; begin < s.out_height; ++begin) {
            const Range out{begin, std::min(begin + most, s.out_height)};
            const Strip strip = strips.part(2, out, 0);
            CHECK(strip.first_image == 2 && strip.images == 1 && strip.shift == 0);
            const Range reached = rows_of_windows(s, out);
            if (length(reached) > 0) CHECK(strip.held.begin <= reached.begin && reached.end <= strip.held.end);
            if (expands) CHECK(length(strip.held) * s.width <= held);
            // What comes before the new rows, the part above has expanded.
            if (begin > 0) CHECK_EQUAL(strip.held.begin + strip.old, strips.part(2, {begin - 1, begin}, 0).held.end);
          }
        }
      }
    }
  });
}
