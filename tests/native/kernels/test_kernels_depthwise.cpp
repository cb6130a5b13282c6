// Every usable ISA's depthwise convolutions against the definition in double: forward, input gradient, weight gradient.
#include <algorithm>
#include <vector>

#include "kernel_cases.h"

using namespace sparsebp;

namespace {

constexpr double kSentinel = -77;
constexpr Index kFewChannels[] = {1, 3, 8, 9, 16};  // a vector, a part of one, both, two

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// Depthwise shapes of `channels` channels: stride 1 and 2, odd sizes, 5 x 5, dilation, one pixel, padding beyond need.
std::vector<ConvShape> depthwise_shapes(Index channels) {
  return {
      conv_shape(channels, channels, 7, 7, 3, 1, 1, channels),
      conv_shape(channels, channels, 7, 8, 3, 2, 1, channels),
      conv_shape(channels, channels, 6, 5, 3, 1, 0, channels),
      conv_shape(channels, channels, 9, 9, 5, 2, 2, channels),
      conv_shape(channels, channels, 9, 9, 3, 1, 2, channels, 2),
      conv_shape(channels, channels, 8, 8, 3, 2, 2, channels, 3),
      conv_shape(channels, channels, 1, 1, 3, 1, 1, channels),
      conv_shape(channels, channels, 2, 2, 3, 3, 3, channels),
      conv_shape(channels, channels, 4, 4, 1, 2, 0, channels),
      conv_shape(channels, channels, 7, 7, 4, 3, 1, channels),
  };
}

// A kernel that need not fit.
void add_shape(std::vector<ConvShape>& shapes, Index channels, Index height, Index width, Index kernel, Index stride,
               Index pad, Index dilation) {
  if (std::min(height, width) + 2 * pad < dilation * (kernel - 1) + 1) return;
  shapes.push_back(conv_shape(channels, channels, height, width, kernel, stride, pad, channels, dilation));
}

// Narrow and wide images under 3 x 3 and 5 x 5 windows.
std::vector<ConvShape> window_shapes(Index channels) {
  std::vector<ConvShape> shapes;
  for (Index width : {1, 2, 3, 4, 7, 8}) {
    for (Index stride : {1, 2}) {
      for (Index pad : {0, 1, 2}) {
        for (Index dilation : {1, 2}) add_shape(shapes, channels, 9, width, 3, stride, pad, dilation);
        add_shape(shapes, channels, 9, width, 5, stride, pad, 1);
      }
    }
  }
  return shapes;
}

// Every small height and width under a 3 x 3 window: halved as MobileNetV2 does it, and at stride 1.
std::vector<ConvShape> small_shapes(Index channels) {
  std::vector<ConvShape> shapes;
  for (Index height = 1; height <= 9; ++height) {
    for (Index width = 1; width <= 9; ++width) {
      add_shape(shapes, channels, height, width, 3, 2, 1, 1);
      for (Index pad : {0, 1, 2}) {
        for (Index dilation : {1, 2}) add_shape(shapes, channels, height, width, 3, 1, pad, dilation);
      }
    }
  }
  return shapes;
}

constexpr Index kBefore = 2;  // channels of the layer before the block under test
constexpr Index kAfter = 3;   // and behind it

template <class T>
void check_depthwise_forward(const Kernels<T>& kernels, const ConvShape& s, Activation activation, bool norm) {
  Random random(static_cast<std::uint64_t>(s.in));
  const Index row = kBefore + s.in + kAfter, mask_row = div_up(s.in, 8) + 1;
  const Fenced<T> x(s.pixels() * row - kAfter, random), weight(s.taps() * row - kAfter, random);
  const Fenced<T> scale(s.in, random), shift(s.in, random, 8);
  Fenced<T> y(s.out_pixels() * row, static_cast<T>(kSentinel));
  Fenced<std::uint8_t> mask(s.out_pixels() * mask_row, 0xEE);
  const bool masked = activation != Activation::identity;
  for (Index half = 0; half < 2; ++half) {
    DepthwiseArgs<T> args{};
    args.shape = s, args.x = x.get() + kBefore, args.x_pixel = row;
    args.weight = weight.get() + kBefore, args.weight_row = row;
    args.y = y.get() + kBefore, args.y_pixel = row, args.channels = s.in;
    args.row_begin = half * (s.out_height / 2), args.row_end = half == 0 ? s.out_height / 2 : s.out_height;
    args.affine.scale = norm ? scale.get() : nullptr, args.affine.shift = norm ? shift.get() : nullptr;
    args.affine.activation = activation;
    args.affine.mask = masked ? mask.get() : nullptr, args.affine.mask_row = mask_row;
    kernels.depthwise_forward(args);
  }
  std::vector<Exact> want(at(s.out_pixels() * s.in));
  every_connection(s, [&](Index tap, Index in, Index out) {
    for (Index c = 0; c < s.in; ++c) {
      want[at(out * s.in + c)].add(x[in * row + kBefore + c], weight[tap * row + kBefore + c]);
    }
  });
  for (Index p = 0; p < s.out_pixels(); ++p) {
    for (Index c = 0; c < row; ++c) {
      const Index channel = c - kBefore;
      if (channel < 0 || channel >= s.in) {
        CHECK_EQUAL(y[p * row + c], T(kSentinel));
        continue;
      }
      Exact sum = want[at(p * s.in + channel)];
      if (norm) sum.scale(scale[channel]), sum.add(shift[channel]);
      sum.activate(activation);
      check_exact(y[p * row + c], sum);
    }
    if (masked) check_mask_row(mask.get() + p * mask_row, y.get() + p * row + kBefore, s.in, activation);
    CHECK_EQUAL(mask[p * mask_row + mask_row - 1], 0xEE);
  }
}

// The same filter with `rows` output rows a call, from arrays that hold those rows and the input rows they reach only.
template <class T>
void check_depthwise_strips(const Kernels<T>& kernels, const ConvShape& s, Index rows) {
  Random random(static_cast<std::uint64_t>(s.in));
  const Index in_row = s.width * s.in, out_row = s.out_width * s.in, mask_row = div_up(s.in, 8);
  const Fenced<T> x(s.height * in_row, random), weight(s.taps() * s.in, random), scale(s.in, random);
  const Fenced<T> shift(s.in, random, 8);
  Fenced<T> whole(s.out_height * out_row);
  Fenced<std::uint8_t> mask(s.out_pixels() * mask_row), strip_mask(mask);
  DepthwiseArgs<T> args{};
  args.shape = s, args.x = x.get(), args.x_pixel = s.in, args.weight = weight.get(), args.weight_row = s.in;
  args.y = whole.get(), args.y_pixel = s.in, args.channels = s.in, args.row_end = s.out_height;
  args.affine.scale = scale.get(), args.affine.shift = shift.get(), args.affine.activation = Activation::relu6;
  args.affine.mask = mask.get(), args.affine.mask_row = mask_row;
  kernels.depthwise_forward(args);
  args.affine.mask = strip_mask.get();
  for (Index begin = 0; begin < s.out_height; begin += rows) {
    const Index end = std::min(begin + rows, s.out_height);
    const Index reached = (end - 1) * s.stride_h - s.pad_h + s.dilation_h * (s.kernel_h - 1) + 1;
    const Index last = std::clamp<Index>(reached, 0, s.height);
    const Index first = std::clamp<Index>(begin * s.stride_h - s.pad_h, 0, last);
    // A fence behind, NaN and the sentinel before.
    Fenced<T> held((1 + last - first) * in_row, std::numeric_limits<T>::quiet_NaN());
    Fenced<T> y((1 + end - begin) * out_row, static_cast<T>(kSentinel));
    std::copy_n(x.get() + first * in_row, (last - first) * in_row, held.get() + in_row);
    args.x = held.get() + in_row, args.y = y.get() + out_row;
    args.row_begin = begin, args.row_end = end, args.x_begin = first, args.y_begin = begin;
    kernels.depthwise_forward(args);
    for (Index i = 0; i < out_row; ++i) CHECK_EQUAL(y[i], T(kSentinel));
    for (Index i = out_row; i < y.size(); ++i) CHECK_EQUAL(y[i], whole[begin * out_row - out_row + i]);
  }
  for (Index i = 0; i < mask.size(); ++i) CHECK_EQUAL(strip_mask[i], mask[i]);
}

template <class T>
void check_depthwise_input_grad(const Kernels<T>& kernels, const ConvShape& s, bool accumulate, bool norm) {
  Random random(static_cast<std::uint64_t>(s.in));
  const Index row = s.in + kAfter;
  const Fenced<T> dz(s.out_pixels() * row - kAfter, random), weight(s.taps() * row - kAfter, random);
  const Fenced<T> scale(s.in, random);
  const Fenced<T> before(s.pixels() * row, random);
  Fenced<T> dx(before);
  for (Index half = 0; half < 2; ++half) {
    DepthwiseArgs<T> args{};
    args.shape = s, args.x = dz.get(), args.x_pixel = row, args.weight = weight.get(), args.weight_row = row;
    args.y = dx.get(), args.y_pixel = row, args.channels = s.in, args.accumulate = accumulate;
    args.row_begin = half * (s.height / 2), args.row_end = half == 0 ? s.height / 2 : s.height;
    args.affine.scale = norm ? scale.get() : nullptr;
    kernels.depthwise_input_grad(args);
  }
  std::vector<Exact> want(at(s.pixels() * s.in));
  every_connection(s, [&](Index tap, Index in, Index out) {
    for (Index c = 0; c < s.in; ++c) want[at(in * s.in + c)].add(dz[out * row + c], weight[tap * row + c]);
  });
  for (Index p = 0; p < s.pixels(); ++p) {
    for (Index c = 0; c < row; ++c) {
      if (c >= s.in) {
        CHECK_EQUAL(dx[p * row + c], before[p * row + c]);
        continue;
      }
      Exact sum = want[at(p * s.in + c)];
      if (norm) sum.scale(scale[c]);
      if (accumulate) sum.add(before[p * row + c]);
      check_exact(dx[p * row + c], sum);
    }
  }
}

template <class T>
void check_depthwise_weight_grad(const Kernels<T>& kernels, const ConvShape& s, Index images) {
  Random random(static_cast<std::uint64_t>(images));
  const Index channels = s.in, saved_pixel = channels + 2, dz_pixel = channels + 4;
  const Fenced<T> saved((images * s.pixels() - 1) * saved_pixel + channels, random);
  const Fenced<T> dz((images * s.out_pixels() - 1) * dz_pixel + channels, random);
  std::vector<Exact> want(at(s.taps() * channels));
  for (Index n = 0; n < images; ++n) {
    every_connection(s, [&](Index tap, Index in, Index out) {
      const Index x = (n * s.pixels() + in) * saved_pixel, y = (n * s.out_pixels() + out) * dz_pixel;
      for (Index c = 0; c < channels; ++c) want[at(tap * channels + c)].add(saved[x + c], dz[y + c]);
    });
  }
  std::vector<Range> ranges{{0, s.taps()}, {std::min<Index>(2, s.taps()), std::min<Index>(5, s.taps())}};
  for (Index begin = 0; begin < s.taps(); begin += 4) ranges.push_back({begin, std::min(begin + 4, s.taps())});
  for (const Range& taps : ranges) {
    Fenced<T> grad((taps.end - taps.begin) * channels, std::numeric_limits<T>::quiet_NaN());
    kernels.depthwise_weight_grad(
        {s, images, saved.get(), saved_pixel, dz.get(), dz_pixel, channels, taps.begin, taps.end, grad.get()});
    for (Index i = taps.begin * channels; i < taps.end * channels; ++i) {
      check_exact(grad[i - taps.begin * channels], want[at(i)]);
    }
  }
}

template <class Channels, class Shapes, class F>
void every_shape(const Channels& channels, const Shapes& shapes, F f) {
  every_table([&](const char* isa, const auto& kernels) {
    for (Index count : channels) {
      for (const ConvShape& s : shapes(count)) {
        check::about("%s: %d channels, %d x %d, kernel %d, stride %d, padding %d, dilation %d", isa,
                     static_cast<int>(count), static_cast<int>(s.height), static_cast<int>(s.width),
                     static_cast<int>(s.kernel_h), static_cast<int>(s.stride_h), static_cast<int>(s.pad_h),
                     static_cast<int>(s.dilation_h));
        f(kernels, s);
      }
    }
  });
}

}  // namespace

TEST(depthwise_forward_filters_every_channel_by_itself) {
  every_shape(kColumns, depthwise_shapes, [](const auto& kernels, const ConvShape& s) {
    for (Activation activation : kLayerActivations) {
      check_depthwise_forward(kernels, s, activation, true);
      check_depthwise_forward(kernels, s, activation, false);
    }
  });
  every_shape(kFewChannels, window_shapes, [](const auto& kernels, const ConvShape& s) {
    check_depthwise_forward(kernels, s, Activation::relu6, true);
    check_depthwise_forward(kernels, s, Activation::identity, false);
  });
}

TEST(depthwise_forward_gives_a_strip_of_rows_the_bits_of_the_whole_image) {
  every_shape(kFewChannels, window_shapes, [](const auto& kernels, const ConvShape& s) {
    for (Index rows = 1; rows <= 4; ++rows) check_depthwise_strips(kernels, s, rows);
  });
}

TEST(depthwise_input_grad_is_the_transposed_filter) {
  const auto check = [](const auto& kernels, const ConvShape& s) {
    for (int variant = 0; variant < 4; ++variant) {
      check_depthwise_input_grad(kernels, s, (variant & 1) != 0, (variant & 2) != 0);
    }
  };
  every_shape(kColumns, depthwise_shapes, check);
  every_shape(kFewChannels, small_shapes, check);
}

TEST(depthwise_weight_grad_sums_over_pixels_and_images) {
  constexpr Index kCounts[] = {1, 2, 7, 8, 15, 16};
  for (Index images : {1, 3}) {
    const auto check = [images](const auto& kernels, const ConvShape& s) {
      check_depthwise_weight_grad(kernels, s, images);
    };
    every_shape(kCounts, depthwise_shapes, check);
    every_shape(kCounts, small_shapes, check);
  }
}
