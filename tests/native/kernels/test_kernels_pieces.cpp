// What a forward pass in pieces asks of every usable ISA's kernels: a sum that goes on where another ended, and a
// convolution of some rows, in memory that holds no others. Both have the bits of the whole.
#include <algorithm>

#include "kernel_cases.h"

using namespace sparsebp;

namespace {

constexpr Index kTerms = 61;

// The product of `rows` x kTerms and kTerms x `cols`, whole and in parts of `part` terms of which each begins with the
// one before; what follows a sum comes with the last of them.
template <class T>
void check_sum(const Kernels<T>& kernels, Index rows, Index cols, Index part, bool transforms) {
  Random random(static_cast<std::uint64_t>(rows * 100 + cols));
  const Index c_row = cols + 3;
  const Fenced<T> a(rows * kTerms, random), b(kTerms * cols, random), scale(cols, random), shift(cols, random, 8);
  const Fenced<T> residual(rows * cols, random);
  Fenced<T> whole((rows - 1) * c_row + cols, std::numeric_limits<T>::quiet_NaN()), parts(whole);
  GemmArgs<T> args{};
  args.a_row = kTerms, args.c_row = c_row, args.rows = rows, args.cols = cols;
  args.sum.b1 = cols;
  const auto finish = [&] {
    args.store = transforms ? Store::affine : Store::assign;
    if (!transforms) return;
    args.affine.scale = scale.get(), args.affine.shift = shift.get(), args.affine.activation = Activation::relu6;
    args.affine.residual = residual.get(), args.affine.residual_row = cols;
  };
  args.c = parts.get(), args.store = Store::assign;
  for (Index term = 0; term < kTerms; term += part) {
    args.a = a.get() + term, args.b = b.get() + term * cols, args.sum.n1 = std::min(part, kTerms - term);
    args.start = term > 0 ? Start::output : Start::zero;
    if (term + part >= kTerms) finish();
    kernels.gemm(args);
  }
  finish();
  args.a = a.get(), args.b = b.get(), args.c = whole.get(), args.sum.n1 = kTerms, args.start = Start::zero;
  kernels.gemm(args);
  for (Index r = 0; r < rows; ++r) {
    for (Index j = 0; j < cols; ++j) CHECK_EQUAL(parts[r * c_row + j], whole[r * c_row + j]);
    for (Index j = cols; j < c_row && r * c_row + j < parts.size(); ++j) CHECK(std::isnan(parts[r * c_row + j]));
  }
}

// Output rows [begin, begin + rows) of a convolution, from memory that holds the input rows that they reach and no
// other, against those of the whole image.
template <class T>
void check_rows(const Kernels<T>& kernels, const ConvShape& s, Index rows) {
  Random random(static_cast<std::uint64_t>(s.in * 100 + s.out));
  const Index in_row = s.width * s.in, out_row = s.out_width * s.out;
  const Fenced<T> x(s.height * in_row, random), weight(s.weights(), random), shift(s.out, random);
  Fenced<T> whole(s.out_height * out_row, std::numeric_limits<T>::quiet_NaN());
  ConvForwardArgs<T> args{};
  args.shape = s, args.weight = weight.get();
  args.affine.shift = shift.get(), args.affine.activation = Activation::relu;
  const auto run = [&](const T* in, T* out, Range made) {
    args.x = in, args.y = out, args.row_begin = made.begin, args.row_end = made.end;
    for (Index g = 0; g < s.groups; ++g) {
      args.col_begin = g * s.out_per_group(), args.col_end = args.col_begin + s.out_per_group();
      kernels.conv_forward(args);
    }
  };
  run(x.get(), whole.get(), {0, s.out_height});
  for (Index begin = 0; begin < s.out_height; begin += rows) {
    const Range out{begin, std::min(begin + rows, s.out_height)}, held = reached_rows(s, out);
    Fenced<T> own((held.end - held.begin) * in_row), made((out.end - out.begin) * out_row, T(-77));
    std::copy_n(x.get() + held.begin * in_row, own.size(), own.get());
    args.x_begin = held.begin, args.y_begin = out.begin;
    run(own.get(), made.get(), out);
    for (Index i = 0; i < made.size(); ++i) CHECK_EQUAL(made[i], whole[begin * out_row + i]);
  }
}

}  // namespace

TEST(a_sum_in_parts_that_go_on_where_the_one_before_ended_has_the_bits_of_the_whole) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index rows : {1, 2, 5, 6, 7, 12, 13, 31}) {
      for (Index cols : {1, 7, 8, 9, 15, 16, 17, 24, 33, 40}) {
        for (Index part : {1, 16, 32, 60, 61}) {
          check::about("%s: %d x %d, %d terms at once", isa, static_cast<int>(rows), static_cast<int>(cols),
                       static_cast<int>(part));
          check_sum(kernels, rows, cols, part, false);
          check_sum(kernels, rows, cols, part, true);
        }
      }
    }
  });
}

TEST(rows_of_a_convolution_are_made_from_the_rows_that_they_reach) {
  std::vector<ConvShape> shapes = {
      conv_shape(3, 32, 11, 11, 3, 2, 1),     conv_shape(3, 17, 8, 9, 3, 1, 1), conv_shape(5, 7, 6, 20, 3),
      conv_shape(8, 33, 5, 5, 1, 2),          conv_shape(4, 16, 9, 9, 5, 1, 2), conv_shape(8, 32, 6, 6, 3, 2, 1, 2),
      conv_shape(3, 15, 9, 9, 3, 1, 2, 1, 2), conv_shape(2, 3, 1, 1, 3, 1, 1),  conv_shape(2, 5, 2, 3, 3, 3, 3),
      conv_shape(1, 1, 4, 4, 4, 1, 3),        conv_shape(16, 10, 1, 1, 1),      conv_shape(2, 4, 12, 12, 3, 3, 0, 1, 3),
  };
  every_table([&](const char* isa, const auto& kernels) {
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      for (Index rows = 1; rows <= std::min<Index>(shapes[i].out_height, 4); ++rows) {
        check::about("%s: shape %d, %d rows", isa, static_cast<int>(i), static_cast<int>(rows));
        check_rows(kernels, shapes[i], rows);
      }
    }
  });
}
