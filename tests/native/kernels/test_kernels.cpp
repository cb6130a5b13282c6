// Every usable ISA's products against plain loops in double: gemm and convolution.
// (Weight gradients: test_kernels_weight_grad.cpp; depthwise: test_kernels_depthwise.cpp; packed rows:
// test_kernels_transposed.cpp; in pieces: test_kernels_pieces.cpp; the rest: test_kernels_elementwise.cpp.)
#include <algorithm>
#include <vector>

#include "kernels/sum_loops.h"

using namespace sparsebp;

namespace {

constexpr double kSentinel = -77;

// What happens to a finished sum, and which of its operands exist.
struct Epilogue {
  Store store;
  bool scale, shift, residual, mask;
  Activation activation;
};

constexpr Epilogue kEpilogues[] = {
    {Store::assign, false, false, false, false, Activation::identity},
    {Store::accumulate, false, false, false, false, Activation::identity},
    {Store::affine, false, false, false, false, Activation::identity},
    {Store::affine, true, true, false, false, Activation::identity},
    {Store::affine, false, true, false, true, Activation::relu},
    {Store::affine, true, true, false, true, Activation::relu6},
    {Store::affine, true, false, true, false, Activation::relu6},
    {Store::accumulate_affine, true, true, true, false, Activation::identity},
    {Store::accumulate_affine, true, true, false, true, Activation::relu6},
    {Store::accumulate_affine, false, false, true, false, Activation::relu},
};

// The operands of an Affine for a matrix of `rows` x `cols`, each ending at a fence.
template <class T>
struct AffineOperands {
  AffineOperands(const Epilogue& e, Index rows, Index cols, Random& random)
      : epilogue(e),
        scale(cols, random),
        shift(cols, random, 8),  // wide enough that ReLU6 clamps at both ends
        residual((rows - 1) * (cols + 1) + cols, random),
        mask((rows - 1) * (div_up(cols, 8) + 1) + div_up(cols, 8), 0xEE) {}

  Affine<T> args() {
    Affine<T> out;
    out.scale = epilogue.scale ? scale.get() : nullptr;
    out.shift = epilogue.shift ? shift.get() : nullptr;
    out.activation = epilogue.activation;
    out.residual = epilogue.residual ? residual.get() : nullptr;
    out.residual_row = columns() + 1;
    out.mask = epilogue.mask ? mask.get() : nullptr;
    out.mask_row = mask_row();
    return out;
  }
  Exact apply(Exact sum, Index row, Index col) const {
    if (epilogue.scale) sum.scale(scale[col]);
    if (epilogue.shift) sum.add(shift[col]);
    sum.activate(epilogue.activation);
    if (epilogue.residual) sum.add(residual[row * (columns() + 1) + col]);
    return sum;
  }
  void check_row(Index row, const T* y) const {
    if (epilogue.mask) check_mask_row(mask.get() + row * mask_row(), y, columns(), epilogue.activation);
    const Index gap = row * mask_row() + div_up(columns(), 8);
    if (gap < mask.size()) CHECK_EQUAL(mask[gap], 0xEE);
  }
  Index columns() const { return scale.size(); }
  Index mask_row() const { return div_up(columns(), 8) + 1; }

  Epilogue epilogue;
  Fenced<T> scale, shift, residual;
  Fenced<std::uint8_t> mask;
};

template <class T>
void check_gemm(const Kernels<T>& kernels, Index rows, Index cols, int loop, const Epilogue& epilogue) {
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols));
  const Index a_row = 5, b_row = cols + 2, c_row = cols + 3;
  const SumLoop sum = sum_loop(loop, b_row);
  const bool accumulate = epilogue.store == Store::accumulate || epilogue.store == Store::accumulate_affine;
  const bool transform = epilogue.store == Store::affine || epilogue.store == Store::accumulate_affine;
  const Fenced<T> a((rows - 1) * a_row + reach_a(sum) + 1, random), b(reach_b(sum) + cols, random);
  AffineOperands<T> affine(epilogue, rows, cols, random);
  // A store that does not accumulate must not read: NaN shows it.
  Fenced<T> c((rows - 1) * c_row + cols, static_cast<T>(kSentinel));
  for (Index r = 0; r < rows; ++r) {
    for (Index j = 0; j < cols; ++j) {
      c[r * c_row + j] = accumulate ? static_cast<T>(random.number()) : std::numeric_limits<T>::quiet_NaN();
    }
  }
  const Fenced<T> before(c);
  kernels.gemm({a.get(), a_row, b.get(), c.get(), c_row, rows, cols, sum, epilogue.store, affine.args()});
  for (Index r = 0; r < rows; ++r) {
    for (Index j = 0; j < cols; ++j) {
      Exact want = product(a.get() + r * a_row, b.get() + j, sum);
      if (accumulate) want.add(before[r * c_row + j]);
      check_exact(c[r * c_row + j], transform ? affine.apply(want, r, j) : want);
    }
    for (Index j = cols; j < c_row && r * c_row + j < c.size(); ++j) CHECK_EQUAL(c[r * c_row + j], T(kSentinel));
    if (transform) affine.check_row(r, c.get() + r * c_row);
  }
}

template <class T>
void check_panel_bits(const Kernels<T>& kernels, Activation activation) {
  constexpr Index kRows = 13, kCols = 2 * kPanel + 9, kTerms = 3, kBytes = (kCols + 7) / 8, kInPanel = kPanel / 8;
  Random random(5);
  const Fenced<T> a(kRows * kTerms, random), b(kTerms * kCols, random);
  Fenced<T> c(kRows * kCols, T(0));
  Fenced<std::uint8_t> rows(kRows * kBytes, 0xEE), panels(3 * kRows * kInPanel, 0xEE);
  SumLoop sum;
  sum.n1 = kTerms, sum.b1 = kCols;
  Affine<T> affine;
  affine.activation = activation;
  affine.mask = rows.get(), affine.mask_row = kBytes;
  kernels.gemm({a.get(), kTerms, b.get(), c.get(), kCols, kRows, kCols, sum, Store::affine, affine});
  affine.mask = panels.get(), affine.mask_row = kInPanel, affine.mask_panel = kRows * kInPanel;
  kernels.gemm({a.get(), kTerms, b.get(), c.get(), kCols, kRows, kCols, sum, Store::affine, affine});
  for (Index r = 0; r < kRows; ++r) {
    for (Index byte = 0; byte < kBytes; ++byte) {
      CHECK_EQUAL(panels[(byte / kInPanel * kRows + r) * kInPanel + byte % kInPanel], rows[r * kBytes + byte]);
    }
  }
}

// The same product of columns that lie side by side, and in panels with something between them.
template <class T>
void check_panels(const Kernels<T>& kernels, Index cols) {
  constexpr Index kRows = 13, kTerms = 3, kPanelSize = kTerms * kPanel + 5;
  Random random(static_cast<std::uint64_t>(cols));
  const Fenced<T> a(kRows * kTerms, random), b(kTerms * cols, random);
  const Index last = (cols - 1) / kPanel, width = cols - last * kPanel;
  Fenced<T> panels(last * kPanelSize + (kTerms - 1) * kPanel + width, static_cast<T>(kSentinel));
  for (Index k = 0; k < kTerms; ++k) {
    for (Index j = 0; j < cols; ++j) panels[j / kPanel * kPanelSize + k * kPanel + j % kPanel] = b[k * cols + j];
  }
  Fenced<T> together(kRows * cols, T(0)), apart(together);
  GemmArgs<T> args{a.get(), kTerms, b.get(), together.get(), cols, kRows, cols, {}, Store::assign, {}};
  args.sum.n1 = kTerms, args.sum.b1 = cols;
  kernels.gemm(args);
  args.b = panels.get(), args.c = apart.get(), args.sum.b1 = kPanel, args.b_panel = kPanelSize;
  kernels.gemm(args);
  for (Index i = 0; i < together.size(); ++i) CHECK_EQUAL(apart[i], together[i]);
}

// The product once whole, once cut into parts of `part_rows` x `part_cols`. Parts that do not begin with a mask byte
// have no mask.
template <class T>
void check_parts(const Kernels<T>& kernels, Index cols, Index part_rows, Index part_cols, int loop, Epilogue e) {
  constexpr Index kRows = 31;
  e.mask &= part_cols % 8 == 0;
  Random random(static_cast<std::uint64_t>(cols));
  const SumLoop sum = sum_loop(loop, cols);
  const Index a_row = reach_a(sum) + 1;
  const Fenced<T> a(kRows * a_row, random), b(reach_b(sum) + cols, random);
  Fenced<T> whole(kRows * cols, random), parts(whole);
  AffineOperands<T> affine(e, kRows, cols, random), cut(affine);
  kernels.gemm({a.get(), a_row, b.get(), whole.get(), cols, kRows, cols, sum, e.store, affine.args()});
  for (Index row = 0; row < kRows; row += part_rows) {
    for (Index col = 0; col < cols; col += part_cols) {
      Affine<T> part = cut.args();
      if (e.scale) part.scale += col;
      if (e.shift) part.shift += col;
      if (e.residual) part.residual += row * part.residual_row + col;
      if (e.mask) part.mask += row * part.mask_row + col / 8;
      kernels.gemm({a.get() + row * a_row, a_row, b.get() + col, parts.get() + row * cols + col, cols,
                    std::min(part_rows, kRows - row), std::min(part_cols, cols - col), sum, e.store, part});
    }
  }
  for (Index i = 0; i < whole.size(); ++i) CHECK_EQUAL(parts[i], whole[i]);
  for (Index i = 0; i < affine.mask.size(); ++i) CHECK_EQUAL(cut.mask[i], affine.mask[i]);
}

// Shapes of a general convolution: MobileNetV2's stem, borders, strides, groups, dilation, windows without any tap.
std::vector<ConvShape> convolutions() {
  std::vector<ConvShape> shapes = {
      conv_shape(3, 32, 11, 11, 3, 2, 1),
      conv_shape(3, 17, 8, 9, 3, 1, 1),
      conv_shape(5, 7, 6, 20, 3),
      conv_shape(8, 33, 5, 5, 1, 2),
      conv_shape(4, 16, 9, 9, 5, 1, 2),
      conv_shape(6, 9, 7, 7, 3, 1, 1, 3),
      conv_shape(8, 32, 6, 6, 3, 2, 1, 2),
      conv_shape(3, 15, 9, 9, 3, 1, 2, 1, 2),
      conv_shape(2, 3, 1, 1, 3, 1, 1),
      conv_shape(2, 5, 2, 3, 3, 3, 3),
      conv_shape(1, 1, 4, 4, 4, 1, 3),
      conv_shape(16, 10, 1, 1, 1),
      conv_shape(2, 4, 12, 12, 3, 3, 0, 1, 3),
  };
  ConvShape uneven = conv_shape(3, 9, 7, 13, 3);
  uneven.kernel_w = 5, uneven.stride_w = 2, uneven.pad_h = 2, uneven.out_height = 9, uneven.out_width = 5;
  shapes.push_back(uneven);
  return shapes;
}

template <class T>
void check_conv(const Kernels<T>& kernels, const ConvShape& s, const Epilogue& epilogue) {
  Random random(static_cast<std::uint64_t>(s.in * 100 + s.out));
  const Fenced<T> x(s.pixels() * s.in, random), weight(s.weights(), random);
  // Groups do not start at whole mask bytes, so a caller masks them in a second pass.
  Epilogue wanted = epilogue;
  wanted.mask &= s.groups == 1;
  AffineOperands<T> affine(wanted, s.out_pixels(), s.out, random);
  Fenced<T> y(s.out_pixels() * s.out, std::numeric_limits<T>::quiet_NaN());
  // Rows in two calls, channels group by group.
  for (Index half = 0; half < 2; ++half) {
    for (Index g = 0; g < s.groups; ++g) {
      ConvForwardArgs<T> args{};
      args.shape = s, args.x = x.get(), args.weight = weight.get(), args.y = y.get(), args.affine = affine.args();
      args.row_begin = half * (s.out_height / 2), args.row_end = half == 0 ? s.out_height / 2 : s.out_height;
      args.col_begin = g * s.out_per_group(), args.col_end = args.col_begin + s.out_per_group();
      kernels.conv_forward(args);
    }
  }
  std::vector<Exact> want(static_cast<std::size_t>(y.size()));
  every_connection(s, [&](Index tap, Index in, Index out) {
    for (Index o = 0; o < s.out; ++o) {
      const Index first = o / s.out_per_group() * s.in_per_group();
      for (Index i = 0; i < s.in_per_group(); ++i) {
        want[static_cast<std::size_t>(out * s.out + o)].add(x[in * s.in + first + i],
                                                            weight[(tap * s.in_per_group() + i) * s.out + o]);
      }
    }
  });
  for (Index p = 0; p < s.out_pixels(); ++p) {
    for (Index o = 0; o < s.out; ++o) {
      check_exact(y[p * s.out + o], affine.apply(want[static_cast<std::size_t>(p * s.out + o)], p, o));
    }
    affine.check_row(p, y.get() + p * s.out);
  }
}

}  // namespace

TEST(gemm_is_the_product_with_every_epilogue_and_every_tail) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index rows = 1; rows <= 15; ++rows) {
      for (Index cols : kColumns) {
        for (int loop = 0; loop < 4; ++loop) {
          for (const Epilogue& e : kEpilogues) {
            check::about("%s: %d x %d, sum loop %d, epilogue %d", isa, static_cast<int>(rows), static_cast<int>(cols),
                         loop, static_cast<int>(&e - kEpilogues));
            check_gemm(kernels, rows, cols, loop, e);
          }
        }
      }
    }
  });
}

TEST(columns_may_lie_panel_by_panel) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index cols : {1, 8, 16, 17, 24, 31, 32, 33, 48, 57}) {
      check::about("%s: %d columns", isa, static_cast<int>(cols));
      check_panels(kernels, cols);
    }
  });
}

TEST(the_bits_of_a_product_may_lie_panel_by_panel) {
  every_table([](const char* isa, const auto& kernels) {
    check::about("%s", isa);
    for (const Activation a : {Activation::relu, Activation::relu6}) check_panel_bits(kernels, a);
  });
}

// Why results do not depend on the number of threads: work may be cut anywhere.
TEST(an_element_of_a_product_has_the_same_bits_in_whatever_tile_it_falls) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index cols : {8, 16, 20, 24, 37, 40}) {
      for (Index part_rows : {1, 2, 5, 6, 7, 12, 13, 31}) {
        for (Index part_cols : {1, 8, 16, 24, 32}) {
          check::about("%s: %d columns, parts of %d x %d", isa, static_cast<int>(cols), static_cast<int>(part_rows),
                       static_cast<int>(part_cols));
          for (const Epilogue& e : kEpilogues) {
            check_parts(kernels, cols, part_rows, part_cols, 0, e);
            check_parts(kernels, cols, part_rows, part_cols, 3, e);
          }
        }
      }
    }
  });
}

TEST(conv_forward_is_the_convolution_at_every_border) {
  every_table([](const char* isa, const auto& kernels) {
    int index = 0;
    for (const ConvShape& s : convolutions()) {
      for (const Epilogue& e : kEpilogues) {
        if (e.store != Store::affine) continue;
        check::about("%s: shape %d, epilogue %d", isa, index, static_cast<int>(&e - kEpilogues));
        check_conv(kernels, s, e);
      }
      ++index;
    }
  });
}
