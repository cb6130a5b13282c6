// Every usable ISA's product with packed rows (gemm_transposed, fed by pack) against plain loops in double.
#include <algorithm>
#include <vector>

#include "kernel_cases.h"

using namespace sparsebp;

namespace {

constexpr double kSentinel = -77;
constexpr Index kRows[] = {1, 3, 8, 9, 15, 16, 17, 31, 32, 33, 49, 64};  // pixels
constexpr Index kSums[] = {1, 7, 16, 24, 40, 160};
constexpr Index kGap = 5;  // elements between panels, and behind every row of a and c

// c = source a^T: the operands of one product, each ending at a fence.
template <class T>
struct Product {
  Product(Index row_count, Index col_count, Index k_count, Random& random)
      : rows(row_count),
        cols(col_count),
        k(k_count),
        row(k_count + kGap),
        source((row_count - 1) * row + k_count, random),
        scale(k_count, random),
        a((col_count - 1) * row + k_count, random) {}

  const Index rows, cols, k;
  const Index row;  // elements from one row of source and of a to the next
  const Fenced<T> source, scale, a;
};

// Rows [first, end) of the source as panels, with NaN between them.
template <class T>
Fenced<T> packed(const Kernels<T>& kernels, const Product<T>& p, Index first, Index end, bool scaled) {
  const Index panel = p.k * kPanel + kGap, panels = div_up(end - first, kPanel);
  Fenced<T> out((panels - 1) * panel + p.k * kPanel, std::numeric_limits<T>::quiet_NaN());
  for (Index i = 0; i < panels; ++i) {
    const Index row = first + i * kPanel;
    kernels.pack({p.source.get() + row * p.row, p.row, scaled ? p.scale.get() : nullptr, out.get() + i * panel, p.k,
                  std::min(kPanel, end - row)});
  }
  return out;
}

// Adds to, or writes, columns [col, col + cols) of the rows whose panels are given.
template <class T>
void multiply(const Kernels<T>& kernels, const Product<T>& p, const Fenced<T>& panels, T* c, Index c_row, Index rows,
              Index col, Index cols, bool accumulate) {
  kernels.gemm_transposed(
      {p.a.get() + col * p.row, p.row, panels.get(), p.k * kPanel + kGap, c + col, c_row, rows, cols, p.k, accumulate});
}

template <class T>
Fenced<T> output(const Product<T>& p, Index c_row, bool accumulate, Random& random) {
  Fenced<T> c((p.rows - 1) * c_row + p.cols, static_cast<T>(kSentinel));
  for (Index i = 0; i < p.rows; ++i) {
    // A product that does not accumulate must not read: NaN shows it.
    for (Index j = 0; j < p.cols; ++j) {
      c[i * c_row + j] = accumulate ? static_cast<T>(random.number()) : std::numeric_limits<T>::quiet_NaN();
    }
  }
  return c;
}

template <class T>
void check_product(const Kernels<T>& kernels, Index rows, Index cols, Index k, bool scaled, bool accumulate) {
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols));
  const Product<T> p(rows, cols, k, random);
  const Index c_row = cols + kGap;
  Fenced<T> c = output(p, c_row, accumulate, random);
  const Fenced<T> before(c);
  multiply(kernels, p, packed(kernels, p, 0, rows, scaled), c.get(), c_row, rows, 0, cols, accumulate);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols; ++j) {
      Exact want;
      for (Index t = 0; t < k; ++t) {
        const double left = static_cast<double>(p.source[i * p.row + t]) * (scaled ? p.scale[t] : T(1));
        want.add(left, p.a[j * p.row + t]);
      }
      if (accumulate) want.add(before[i * c_row + j]);
      check_exact(c[i * c_row + j], want);
    }
    for (Index j = cols; j < c_row && i * c_row + j < c.size(); ++j) CHECK_EQUAL(c[i * c_row + j], T(kSentinel));
  }
}

// The product once whole, once in parts of up to `part_rows` x `part_cols`, whose rows are packed anew.
template <class T>
void check_parts(const Kernels<T>& kernels, Index k, Index part_rows, Index part_cols, bool accumulate) {
  Random random(static_cast<std::uint64_t>(k));
  const Product<T> p(41, 37, k, random);
  const Index c_row = p.cols + kGap;
  Fenced<T> whole = output(p, c_row, accumulate, random), parts(whole);
  multiply(kernels, p, packed(kernels, p, 0, p.rows, true), whole.get(), c_row, p.rows, 0, p.cols, accumulate);
  for (Index row = 0; row < p.rows; row += part_rows) {
    const Index rows = std::min(part_rows, p.rows - row);
    const Fenced<T> panels = packed(kernels, p, row, row + rows, true);
    for (Index col = 0; col < p.cols; col += part_cols) {
      const Index cols = std::min(part_cols, p.cols - col);
      multiply(kernels, p, panels, parts.get() + row * c_row, c_row, rows, col, cols, accumulate);
    }
  }
  for (Index i = 0; i < whole.size(); ++i) CHECK_EQUAL(parts[i], whole[i]);
}

}  // namespace

TEST(gemm_transposed_is_the_product_with_packed_rows_at_every_tail) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index rows : kRows) {
      for (Index cols : kColumns) {
        for (Index k : kSums) {
          check::about("%s: %d x %d, %d terms", isa, static_cast<int>(rows), static_cast<int>(cols),
                       static_cast<int>(k));
          for (int variant = 0; variant < 4; ++variant) {
            check_product(kernels, rows, cols, k, (variant & 1) != 0, (variant & 2) != 0);
          }
        }
      }
    }
  });
}

// Why results do not depend on the number of threads, nor on the batch: work may be cut anywhere.
TEST(an_element_has_the_same_bits_however_many_rows_and_columns_share_the_call) {
  every_table([](const char* isa, const auto& kernels) {
    for (Index k : kSums) {
      for (Index rows : {1, 3, 8, 9, 15, 16, 17, 32, 41}) {
        for (Index cols : {1, 7, 8, 9, 16, 17, 32, 37}) {
          check::about("%s: %d terms, parts of %d x %d", isa, static_cast<int>(k), static_cast<int>(rows),
                       static_cast<int>(cols));
          check_parts(kernels, k, rows, cols, false);
          check_parts(kernels, k, rows, cols, true);
        }
      }
    }
  });
}
