// Every usable ISA's weight gradients, with the step of SGD that they take, against plain loops in double.
#include <algorithm>

#include "kernels/sum_loops.h"

using namespace sparsebp;

namespace {

// Tiles are one, two or four panels wide, depending on the rows.
constexpr Index kWeightColumns[] = {1, 3, 7, 9, 15, 16, 17, 32, 33, 63, 64, 65, 96, 144, 160};

struct Rule {
  bool scale, momentum, sum, squared_norm;
  Sgd sgd;
};

constexpr Rule kRules[] = {
    {false, false, false, false, {0.1, 0, 0}},    {true, false, false, true, {0.1, 0.01, 0}},
    {true, true, false, false, {0.1, 0.01, 0.9}}, {false, true, false, true, {0.1, 0, 0.5}},
    {true, false, true, true, {0.1, 0.01, 0}},    {false, true, true, false, {0.1, 0.01, 0.9}},
};

template <class T>
void check_weight_grad(const Kernels<T>& kernels, int rows, Index cols, int loop, const Rule& rule) {
  Random random(static_cast<std::uint64_t>(rows * 1000 + cols));
  const SumLoop sum = sum_loop(loop, cols + 1);
  const Fenced<T> a(reach_a(sum) + rows, random), b(reach_b(sum) + cols, random), scale(cols, random);
  const Index count = rows * cols;  // the rows of weights, momentum and sums lie in reverse order
  Fenced<T> weight(count, random), momentum(count, random), grads(count, random);
  Fenced<float> squared_norm(rows, 2.0f);
  const Fenced<T> weight_before(weight), momentum_before(momentum), grads_before(grads);
  WeightGradArgs<T> args{};
  for (int r = 0; r < rows; ++r) {
    const Index at = (rows - 1 - r) * cols;
    args.rows[r] = {a.get() + r, weight.get() + at, rule.momentum ? momentum.get() + at : nullptr,
                    rule.sum ? grads.get() + at : nullptr, rule.squared_norm ? squared_norm.get() + r : nullptr};
  }
  args.row_count = rows, args.b = b.get(), args.cols = cols, args.scale = rule.scale ? scale.get() : nullptr;
  args.sum = sum, args.sgd = rule.sgd;
  kernels.weight_grad(args);

  for (int r = 0; r < rows; ++r) {
    Exact square;
    square.add(2.0);
    for (Index j = 0; j < cols; ++j) {
      const Index at = (rows - 1 - r) * cols + j;
      Exact g = product(a.get() + r, b.get() + j, sum);
      if (rule.scale) g.scale(scale[j]);
      square.value += g.value * g.value, square.size += g.size * g.size, square.terms += 2 * g.terms + 2;
      if (rule.sum) {
        g.add(grads_before[at]);
        check_exact(grads[at], g);
        CHECK_EQUAL(weight[at], weight_before[at]);
        CHECK_EQUAL(momentum[at], momentum_before[at]);
        continue;
      }
      g.add(rule.sgd.weight_decay, weight_before[at]);
      if (rule.momentum) g.add(rule.sgd.momentum, momentum_before[at]);
      if (rule.momentum) check_exact(momentum[at], g);
      if (!rule.momentum) CHECK_EQUAL(momentum[at], momentum_before[at]);
      g.scale(-rule.sgd.rate);
      g.add(weight_before[at]);
      check_exact(weight[at], g);
      CHECK_EQUAL(grads[at], grads_before[at]);
    }
    if (rule.squared_norm) {
      check_exact(squared_norm[r], square);
    } else {
      CHECK_EQUAL(squared_norm[r], 2.0f);
    }
  }
}

// Rows trained together, and each by itself.
template <class T>
void check_rows(const Kernels<T>& kernels, int rows, Index cols, const Rule& rule) {
  Random random(static_cast<std::uint64_t>(cols));
  const SumLoop sum = sum_loop(0, cols + 1);
  const Fenced<T> a(reach_a(sum) + rows, random), b(reach_b(sum) + cols, random), scale(cols, random);
  const Fenced<T> before(3 * rows * cols, random);  // weights, momentum, sums
  const auto train = [&](Fenced<T>& state, Fenced<float>& squared_norm, int first, int count) {
    WeightGradArgs<T> args{};
    for (int r = 0; r < count; ++r) {
      T* row = state.get() + (first + r) * cols;
      args.rows[r] = {a.get() + first + r, row, rule.momentum ? row + rows * cols : nullptr,
                      rule.sum ? row + 2 * rows * cols : nullptr,
                      rule.squared_norm ? squared_norm.get() + first + r : nullptr};
    }
    args.row_count = count, args.b = b.get(), args.cols = cols, args.scale = rule.scale ? scale.get() : nullptr;
    args.sum = sum, args.sgd = rule.sgd;
    kernels.weight_grad(args);
  };
  Fenced<T> together(before), alone(before);
  Fenced<float> squared_norm(rows), squared_norm_alone(rows);
  train(together, squared_norm, 0, rows);
  for (int r = 0; r < rows; ++r) train(alone, squared_norm_alone, r, 1);
  for (Index i = 0; i < before.size(); ++i) CHECK_EQUAL(together[i], alone[i]);
  for (int r = 0; r < rows; ++r) {  // tiles of other widths add the squares of a row in other groups
    CHECK_CLOSE(squared_norm[r], squared_norm_alone[r], tolerance<float>(cols) * squared_norm_alone[r]);
  }
}

// A gradient in whole rows, and the same in parts for several threads.
template <class T>
void check_parts(const Kernels<T>& kernels, int rows, Index cols, Index count) {
  constexpr Index kPixels = 7;
  Random random(static_cast<std::uint64_t>(cols));
  const ColumnParts parts{cols, kPanel, count};
  const Fenced<T> a(kPixels * rows, random), whole(kPixels * cols, random), before(rows * cols, random);
  Fenced<T> apart(whole);
  for (Index part = 0; part < count; ++part) {
    const Index begin = parts.begin(part), width = parts.width(part);
    for (Index m = 0; m < kPixels; ++m) {
      std::copy_n(whole.get() + m * cols + begin, width, apart.get() + begin * kPixels + m * width);
    }
  }
  const auto train = [&](Fenced<T>& weight, Fenced<float>& squares, const T* b, const ColumnParts& lies) {
    WeightGradArgs<T> args{};
    for (int r = 0; r < rows; ++r) {
      args.rows[r] = {a.get() + r, weight.get() + r * cols, nullptr, nullptr, squares.get() + r};
    }
    args.row_count = rows, args.b = b, args.parts = lies, args.cols = cols;
    args.sum.n1 = kPixels, args.sum.n2 = args.sum.n3 = 1, args.sum.a1 = rows, args.sum.b1 = cols;
    args.sgd = {0.1, 0, 0};
    kernels.weight_grad(args);
  };
  Fenced<T> of_whole(before), of_parts(before);
  Fenced<float> squares_of_whole(rows, 0.0f), squares_of_parts(rows, 0.0f);
  train(of_whole, squares_of_whole, whole.get(), {});
  train(of_parts, squares_of_parts, apart.get(), parts);
  for (Index i = 0; i < before.size(); ++i) CHECK_EQUAL(of_parts[i], of_whole[i]);
  for (int r = 0; r < rows; ++r) CHECK_EQUAL(squares_of_parts[r], squares_of_whole[r]);
}

}  // namespace

TEST(a_gradient_in_parts_trains_the_same_bits_as_in_whole_rows) {
  every_table([](const char* isa, const auto& kernels) {
    for (int rows = 1; rows <= kWeightRows; ++rows) {
      for (Index cols : {32, 80, 97, 144}) {
        for (Index count : {2, 3}) {
          if (count > (cols + kPanel - 1) / kPanel) continue;
          check::about("%s: %d rows, %d columns, %d parts", isa, rows, static_cast<int>(cols), static_cast<int>(count));
          check_parts(kernels, rows, cols, count);
        }
      }
    }
  });
}

TEST(weight_grad_trains_one_to_four_rows_by_the_rule_of_sgd) {
  every_table([](const char* isa, const auto& kernels) {
    for (int rows = 1; rows <= kWeightRows; ++rows) {
      for (Index cols : kWeightColumns) {
        for (int loop = 0; loop < 4; ++loop) {
          for (const Rule& rule : kRules) {
            check::about("%s: %d rows, %d columns, sum loop %d, rule %d", isa, rows, static_cast<int>(cols), loop,
                         static_cast<int>(&rule - kRules));
            check_weight_grad(kernels, rows, cols, loop, rule);
          }
        }
      }
    }
  });
}

TEST(the_bits_of_a_trained_row_do_not_depend_on_the_rows_that_share_its_tile) {
  every_table([](const char* isa, const auto& kernels) {
    for (int rows = 1; rows <= kWeightRows; ++rows) {
      for (Index cols : kWeightColumns) {
        for (const Rule& rule : kRules) {
          check::about("%s: %d rows, %d columns, rule %d", isa, rows, static_cast<int>(cols),
                       static_cast<int>(&rule - kRules));
          check_rows(kernels, rows, cols, rule);
        }
      }
    }
  });
}
