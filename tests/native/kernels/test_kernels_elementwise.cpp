// Every usable ISA's masks, activations, copies, pooling and SGD against plain loops in double.
#include <algorithm>
#include <vector>

#include "kernel_cases.h"

using namespace sparsebp;

namespace {

constexpr double kSentinel = -77;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

template <class T>
void check_mask(const Kernels<T>& kernels, Index rows, Index cols, bool masked, bool summed) {
  Random random(static_cast<std::uint64_t>(rows));
  const Index row = cols + 1, mask_row = 4;
  const Fenced<T> before((rows - 1) * row + cols, random);
  Fenced<T> g(before), sum(cols, static_cast<T>(kSentinel));
  Fenced<std::uint8_t> mask((rows - 1) * mask_row + div_up(cols, 8));
  for (Index i = 0; i < mask.size(); ++i) mask[i] = static_cast<std::uint8_t>(random.below(256));
  kernels.mask({g.get(), row, masked ? mask.get() : nullptr, mask_row, rows, cols, summed ? sum.get() : nullptr});
  for (Index c = 0; c < cols; ++c) {
    Exact total;
    for (Index m = 0; m < rows; ++m) {
      const bool passes = !masked || bit(mask.get() + m * mask_row, c);
      CHECK_EQUAL(g[m * row + c], passes ? before[m * row + c] : T(0));
      if (passes) total.add(before[m * row + c]);
    }
    if (summed) check_exact(sum[c], total);
    if (!summed) CHECK_EQUAL(sum[c], T(kSentinel));
  }
  for (Index m = 0; m + 1 < rows; ++m) CHECK_EQUAL(g[m * row + cols], before[m * row + cols]);
}

template <class T>
void check_activation(const Kernels<T>& kernels, Index cols, Activation activation, bool in_place, bool masked) {
  Random random(static_cast<std::uint64_t>(cols));
  constexpr Index kRows = 5;
  const Index row = cols + 2, mask_row = div_up(cols, 8) + 1;
  Fenced<T> before((kRows - 1) * row + cols, random, 9);
  before[0] = 0, before[before.size() - 1] = 6;  // the gradient passes neither bound
  Fenced<T> x(before), y(x.size(), static_cast<T>(kSentinel));
  Fenced<std::uint8_t> mask((kRows - 1) * mask_row + div_up(cols, 8), 0xEE);
  T* out = in_place ? x.get() : y.get();
  kernels.activation_forward({x.get(), out, row, kRows, cols, activation, masked ? mask.get() : nullptr, mask_row});
  for (Index m = 0; m < kRows; ++m) {
    for (Index c = 0; c < cols; ++c) {
      Exact want;
      want.add(before[m * row + c]);
      want.activate(activation);
      CHECK_EQUAL(static_cast<double>(out[m * row + c]), want.value);
    }
    if (masked) check_mask_row(mask.get() + m * mask_row, out + m * row, cols, activation);
    if (m + 1 < kRows) CHECK_EQUAL(out[m * row + cols], in_place ? before[m * row + cols] : T(kSentinel));
    if (m + 1 < kRows) CHECK_EQUAL(mask[m * mask_row + mask_row - 1], 0xEE);
  }
}

template <class T>
void check_pack(const Kernels<T>& kernels, Index rows, Index cols, bool scaled) {
  Random random(static_cast<std::uint64_t>(rows));
  const Index source_row = rows + 2;
  const Fenced<T> source(cols > 0 ? (cols - 1) * source_row + rows : 0, random), scale(rows, random);
  Fenced<T> panel(rows * kPanel, std::numeric_limits<T>::quiet_NaN());
  kernels.pack({source.get(), source_row, scaled ? scale.get() : nullptr, panel.get(), rows, cols});
  for (Index k = 0; k < rows; ++k) {
    for (Index j = 0; j < kPanel; ++j) {
      const T want = j >= cols ? T(0) : source[j * source_row + k] * (scaled ? scale[k] : T(1));
      CHECK_EQUAL(panel[k * kPanel + j], want);
    }
  }
}

// Whatever is not finite is found wherever it is, and behind the end it does no harm.
template <class T>
void check_all_finite(const Kernels<T>& kernels, Index count) {
  using Limits = std::numeric_limits<T>;
  Random random(static_cast<std::uint64_t>(count));
  Fenced<T> x(count, random);
  CHECK(kernels.all_finite(x.get(), count));
  for (T bad : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
    for (Index i = 0; i < count; ++i) {
      const T good = x[i];
      x[i] = bad;
      CHECK(!kernels.all_finite(x.get(), count));
      CHECK(kernels.all_finite(x.get(), i));
      x[i] = good;
    }
  }
  for (T edge : {Limits::max(), Limits::lowest(), Limits::min(), Limits::denorm_min(), T(-0.0)}) {
    CHECK(kernels.all_finite(Fenced<T>(count, edge).get(), count));
    if (count == 0) continue;
    x[count - 1] = edge;
    CHECK(kernels.all_finite(x.get(), count));
  }
}

template <class T>
void check_gather(const Kernels<T>& kernels, const std::vector<std::int32_t>& channels, bool all) {
  Random random(1);
  constexpr Index kPixels = 6;
  const Index count = static_cast<Index>(channels.size()), x_pixel = 20, out_pixel = count + 2;
  const Fenced<T> x(kPixels * x_pixel, random);
  Fenced<T> out(kPixels * out_pixel, static_cast<T>(kSentinel));
  kernels.gather({x.get(), x_pixel, all ? nullptr : channels.data(), out.get(), out_pixel, kPixels, count});
  for (Index m = 0; m < kPixels; ++m) {
    for (Index j = 0; j < count; ++j) {
      CHECK_EQUAL(out[m * out_pixel + j], x[m * x_pixel + (all ? j : channels[at(j)])]);
    }
    CHECK_EQUAL(out[m * out_pixel + count], T(kSentinel));
  }
}

// Which of the optional inputs exist is a bit each: gamma, beta, bias, norm, scale wanted, shift wanted.
template <class T>
void check_fold(const Kernels<T>& kernels, Index count, unsigned parts) {
  Random random(parts);
  const Fenced<T> gamma(count, random), beta(count, random), mean(count, random), bias(count, random);
  Fenced<T> var(count), scale(count, static_cast<T>(kSentinel)), shift(count, static_cast<T>(kSentinel));
  for (Index c = 0; c < count; ++c) var[c] = static_cast<T>(1.1 + random.number());
  const auto part = [&](int i) { return (parts >> i & 1) != 0; };
  const double eps = 1e-3;
  kernels.fold({part(0) ? gamma.get() : nullptr, part(1) ? beta.get() : nullptr, part(3) ? mean.get() : nullptr,
                part(3) ? var.get() : nullptr, part(2) ? bias.get() : nullptr, eps, count,
                part(4) ? scale.get() : nullptr, part(5) ? shift.get() : nullptr});
  for (Index c = 0; c < count; ++c) {
    Exact s, t;
    s.add(part(3) ? 1 / std::sqrt(static_cast<double>(var[c]) + eps) : 1.0);
    if (part(0)) s.scale(gamma[c]);
    if (part(2)) t.add(bias[c]);
    if (part(3)) t.add(-mean[c]), t.scale(s.value);
    if (part(3) && part(1)) t.add(beta[c]);
    check_exact(scale[c], part(4) ? s : Exact{kSentinel, 0, 0});
    check_exact(shift[c], part(5) ? t : Exact{kSentinel, 0, 0});
  }
}

template <class T>
void check_sgd(const Kernels<T>& kernels, Index count, bool with_momentum, const Sgd& rule) {
  Random random(static_cast<std::uint64_t>(count));
  const Fenced<T> w0(count, random), g(count, random), m0(count, random);
  Fenced<T> w(w0), m(m0);
  kernels.sgd({w.get(), g.get(), with_momentum ? m.get() : nullptr, count, rule});
  for (Index i = 0; i < count; ++i) {
    Exact step;
    step.add(g[i]);
    step.add(rule.weight_decay, w0[i]);
    if (with_momentum) step.add(rule.momentum, m0[i]);
    check_exact(m[i], with_momentum ? step : Exact{static_cast<double>(m0[i]), 0, 0});
    step.scale(-rule.rate);
    step.add(w0[i]);
    check_exact(w[i], step);
  }
}

template <class T>
void check_pool(const Kernels<T>& kernels, const ConvShape& s, bool count_padding, bool accumulate) {
  Random random(static_cast<std::uint64_t>(s.in));
  const Fenced<T> x(s.pixels() * s.in, random), dy(s.out_pixels() * s.in, random), before(x.size(), random);
  Fenced<T> y(dy.size(), std::numeric_limits<T>::quiet_NaN()), dx(before);
  kernels.pool_forward({s, x.get(), y.get(), count_padding, false, 0, s.out_height, 0, 0});
  kernels.pool_backward({s, dy.get(), dx.get(), count_padding, accumulate, 0, 0, 0, 0});
  std::vector<Index> inside(at(s.out_pixels()));
  every_connection(s, [&](Index, Index, Index out) { ++inside[at(out)]; });
  std::vector<Exact> forward(at(y.size())), backward(at(dx.size()));
  every_connection(s, [&](Index, Index in, Index out) {
    const double weight = 1.0 / static_cast<double>(count_padding ? s.taps() : inside[at(out)]);
    for (Index c = 0; c < s.in; ++c) {
      forward[at(out * s.in + c)].add(x[in * s.in + c], weight);
      backward[at(in * s.in + c)].add(dy[out * s.in + c], weight);
    }
  });
  for (Index i = 0; i < y.size(); ++i) check_exact(y[i], forward[at(i)]);
  for (Index i = 0; i < dx.size(); ++i) {
    if (accumulate) backward[at(i)].add(before[i]);
    check_exact(dx[i], backward[at(i)]);
  }
}

}  // namespace

TEST(mask_clears_what_does_not_pass_and_sums_what_does) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index rows : {1, 2, 63, 64, 65, 130}) {
      for (Index cols = 1; cols <= kPanel; ++cols) {
        check::about("%s: %d x %d", isa, static_cast<int>(rows), static_cast<int>(cols));
        for (int variant = 0; variant < 4; ++variant) {
          check_mask(kernels, rows, cols, (variant & 1) != 0, (variant & 2) != 0);
        }
      }
    }
  });
}

TEST(activation_forward_clamps_and_keeps_a_bit_per_element) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index cols : kColumns) {
      for (Activation activation : kLayerActivations) {
        check::about("%s: %d columns, activation %d", isa, static_cast<int>(cols), static_cast<int>(activation));
        for (int variant = 0; variant < 4; ++variant) {
          check_activation(kernels, cols, activation, (variant & 1) != 0, (variant & 2) != 0);
        }
      }
    }
  });
}

// A diverged model must not look healthy: torch's ReLU hands a NaN on.
TEST(a_nan_survives_every_activation) {
  every_table([](const char* isa, const auto& kernels) {
    const auto check_nan = [isa](const auto& table, auto zero) {
      using T = decltype(zero);
      for (Activation activation : kLayerActivations) {
        check::about("%s: activation %d", isa, static_cast<int>(activation));
        Fenced<T> x(19, std::numeric_limits<T>::quiet_NaN());
        table.activation_forward({x.get(), x.get(), 19, 1, 19, activation, nullptr, 0});
        for (Index i = 0; i < x.size(); ++i) CHECK(std::isnan(x[i]));
      }
    };
    if constexpr (std::is_same_v<std::decay_t<decltype(kernels)>, Kernels<float>>) {
      check_nan(kernels, 0.0f);
    } else {
      check_nan(kernels, 0.0);
    }
  });
}

TEST(pack_transposes_scales_and_fills_up_with_zeros) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index rows : {Index{1}, Index{3}, Index{4}, Index{7}, Index{8}, Index{9}, Index{15}, Index{33}, kPanelRows}) {
      for (Index cols = 0; cols <= kPanel; ++cols) {
        check::about("%s: %d x %d", isa, static_cast<int>(rows), static_cast<int>(cols));
        check_pack(kernels, rows, cols, false);
        check_pack(kernels, rows, cols, true);
      }
    }
  });
}

TEST(all_finite_finds_a_nan_and_an_infinity_at_every_place) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index count : {0, 1, 3, 7, 8, 31, 32, 33, 1000}) {
      check::about("%s: %d numbers", isa, static_cast<int>(count));
      check_all_finite(kernels, count);
    }
  });
}

TEST(gather_copies_the_selected_channels_in_their_order) {
  every_table([](const char* isa, const auto& kernels) {
    check::about(isa);
    for (const std::vector<std::int32_t>& channels :
         {std::vector<std::int32_t>{0}, {19}, {3, 1, 18}, {0, 1, 2, 3, 4, 5, 6, 7, 8}, {}}) {
      check_gather(kernels, channels, false);
      check_gather(kernels, channels, true);
    }
  });
}

TEST(fold_turns_a_frozen_batch_norm_into_scale_and_shift) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index count : {1, 16, 19}) {
      for (unsigned parts = 0; parts < 64; ++parts) {
        check::about("%s: %d channels, parts %d", isa, static_cast<int>(count), static_cast<int>(parts));
        check_fold(kernels, count, parts);
      }
    }
  });
}

TEST(sgd_follows_torch_with_weight_decay_and_momentum) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index count : kColumns) {
      check::about("%s: %d weights", isa, static_cast<int>(count));
      for (const Sgd& rule : {Sgd{0.1, 0, 0}, Sgd{0.1, 0.01, 0}, Sgd{0.1, 0.01, 0.9}, Sgd{0, 0, 0}}) {
        check_sgd(kernels, count, false, rule);
        check_sgd(kernels, count, true, rule);
      }
    }
  });
}

TEST(pooling_averages_and_spreads_the_gradient_back) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index channels : {1, 7, 16, 19}) {
      for (const ConvShape& s :
           {conv_shape(channels, channels, 7, 7, 7), conv_shape(channels, channels, 8, 8, 2, 2),
            conv_shape(channels, channels, 7, 9, 3, 2, 1), conv_shape(channels, channels, 5, 5, 3, 1, 1)}) {
        check::about("%s: %d channels, %d x %d", isa, static_cast<int>(channels), static_cast<int>(s.height),
                     static_cast<int>(s.width));
        for (int variant = 0; variant < 4; ++variant) {
          check_pool(kernels, s, (variant & 1) != 0, (variant & 2) != 0);
        }
      }
    }
  });
}
