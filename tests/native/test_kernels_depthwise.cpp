// Every usable ISA's depthwise convolutions against the definition in double: forward, input gradient, weight gradient.
#include <algorithm>
#include <vector>

#include "kernel_cases.h"

using namespace sparsebp;

namespace {

constexpr double kSentinel = -77;

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

constexpr Index kBefore = 2;  // channels of the layer before the block under test
constexpr Index kAfter = 3;   // and behind it

template <class T>
void check_depthwise_forward(const Kernels<T>& kernels, const ConvShape& s, Activation activation, bool norm) {
  Random random(static_cast<std::uint64_t>(s.in));
  const Index row = kBefore + s.in + kAfter, mask_row = div_up(s.in, 8) + 1;
  const Fenced<T> x(s.pixels() * row, random), weight(s.taps() * row, random);
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

template <class T>
void check_depthwise_input_grad(const Kernels<T>& kernels, const ConvShape& s, bool accumulate, bool norm) {
  Random random(static_cast<std::uint64_t>(s.in));
  const Index row = s.in + kAfter;
  const Fenced<T> dz(s.out_pixels() * row, random), weight(s.taps() * row, random), scale(s.in, random);
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
  const Index saved_pixel = 3, dz_pixel = 5;
  const Fenced<T> saved((images * s.pixels() - 1) * saved_pixel + 1, random);
  const Fenced<T> dz((images * s.out_pixels() - 1) * dz_pixel + 1, random);
  std::vector<Exact> want(at(s.taps()));
  for (Index n = 0; n < images; ++n) {
    every_connection(s, [&](Index tap, Index in, Index out) {
      want[at(tap)].add(saved[(n * s.pixels() + in) * saved_pixel], dz[(n * s.out_pixels() + out) * dz_pixel]);
    });
  }
  Fenced<T> grad(s.taps(), std::numeric_limits<T>::quiet_NaN());
  for (Index begin = 0; begin < s.taps(); begin += 4) {
    const Index end = std::min(begin + 4, s.taps());
    kernels.depthwise_weight_grad(
        {s, images, saved.get(), saved_pixel, dz.get(), dz_pixel, begin, end, grad.get() + begin});
  }
  for (Index tap = 0; tap < s.taps(); ++tap) check_exact(grad[tap], want[at(tap)]);
}

template <class F>
void every_depthwise_shape(F f) {
  every_table([&](const char* isa, const auto& kernels) {
    for (Index channels : kColumns) {
      int index = 0;
      for (const ConvShape& s : depthwise_shapes(channels)) {
        check::about("%s: %d channels, shape %d", isa, static_cast<int>(channels), index++);
        f(kernels, s);
      }
    }
  });
}

}  // namespace

TEST(depthwise_forward_filters_every_channel_by_itself) {
  every_depthwise_shape([](const auto& kernels, const ConvShape& s) {
    for (Activation activation : kActivations) {
      check_depthwise_forward(kernels, s, activation, true);
      check_depthwise_forward(kernels, s, activation, false);
    }
  });
}

TEST(depthwise_input_grad_is_the_transposed_filter) {
  every_depthwise_shape([](const auto& kernels, const ConvShape& s) {
    for (int variant = 0; variant < 4; ++variant) {
      check_depthwise_input_grad(kernels, s, (variant & 1) != 0, (variant & 2) != 0);
    }
  });
}

TEST(depthwise_weight_grad_sums_over_pixels_and_images) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index images : {1, 3}) {
      int index = 0;
      for (const ConvShape& s : depthwise_shapes(1)) {
        check::about("%s: %d images, shape %d", isa, static_cast<int>(images), index++);
        check_depthwise_weight_grad(kernels, s, images);
      }
    }
  });
}
