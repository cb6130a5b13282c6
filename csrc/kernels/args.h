// The parameter struct of every kernel: sizes, strides in elements, pointers. No kernel allocates or can fail;
// whoever fills these structs has validated them. Headers of the kernels state what each computes.
#pragma once

#include <cstdint>

#include "core/shape.h"
#include "kernels/column_parts.h"

namespace sparsebp {

// Columns of one panel and of one tile, on every ISA: plans must not depend on the ISA.
constexpr Index kPanel = 16;
constexpr Index kHalfPanel = kPanel / 2;
// Columns of the widest tile: where a vector is a whole panel, a product of two panels is faster than two products.
constexpr Index kPair = 2 * kPanel;
// Most rows of a packed panel: 16 KB of float32, half of a common first-level cache.
constexpr Index kPanelRows = 256;

enum class Activation : std::uint8_t {
  identity,
  relu,
  relu6,
  // Up to here a layer applies them. Of the next ones a bit says whether the gradient passes as it is, or otherwise.
  leaky_relu,   // alpha x where x is negative
  clip,         // from beta to alpha
  hardsigmoid,  // x / 6 + 1/2, from 0 to 1
  // Of these the derivative is a number.
  hardswish,
  sigmoid,
  silu,
  gelu,
  gelu_tanh,  // gelu by its approximation with tanh
  tanh,
  elu,       // alpha (e^x - 1) where x is negative
  softplus,  // as torch: x itself above 20
  mish,
};
constexpr int kActivations = static_cast<int>(Activation::mish) + 1;
// Can a layer apply it.
SPARSEBP_HOST_DEVICE constexpr bool is_layers(Activation a) { return a <= Activation::relu6; }
SPARSEBP_HOST_DEVICE constexpr bool is_curve(Activation a) { return a >= Activation::hardswish; }

// Three nested sums over k. Element strides for the left operand (a) and the right one (b).
struct SumLoop {
  Index n1 = 1, n2 = 1, n3 = 1;  // innermost first
  Index a1 = 1, a2 = 0, a3 = 0;
  Index b1 = 0, b2 = 0, b3 = 0;
};

// What happens to a finished sum. `accumulate` adds what the output holds first; `affine` then applies Affine.
enum class Store : std::uint8_t { assign = 0, accumulate = 1, affine = 2, accumulate_affine = 3 };

// Where a sum begins: at zero, or at what the output holds, so that a sum over k in parts has the bits of the whole
// one.
enum class Start : std::uint8_t { zero, output };

// y = activation(scale * acc + shift) + residual, with one mask bit per element if wanted. The bits are read off y, so
// mask and residual do not go together.
template <class T>
struct Affine {
  const T* scale = nullptr;  // null: ones
  const T* shift = nullptr;  // null: zeros
  Activation activation = Activation::identity;
  const T* residual = nullptr;
  Index residual_row = 0;
  std::uint8_t* mask = nullptr;  // bit c of a row: does the gradient pass column c
  Index mask_row = 0;            // bytes
  Index mask_panel = 0;          // bytes from the bits of a panel to those of the next; 0: they lie side by side
};

template <class T>
struct GemmArgs {
  const T* a;
  Index a_row;
  const T* b;
  T* c;
  Index c_row;
  Index rows, cols;
  SumLoop sum;
  Store store;
  Affine<T> affine;
  Start start = Start::zero;
  Index b_panel = kPanel;  // elements from a panel of b's columns to the next one
};

template <class T>
struct GemmTransposedArgs {
  const T* a;  // element (k, col) at a[col * a_row + k]
  Index a_row;
  const T* panels;  // panel p holds rows p * kPanel ... of b: [k][kPanel], zero where there is no row
  Index panel;      // elements from one panel to the next
  T* c;
  Index c_row;
  Index rows, cols, k;
  bool accumulate;
};

// One training rule for a run of numbers that share a learning rate.
struct Sgd {
  double rate = 0, weight_decay = 0, momentum = 0;
};

// Rows of a weight gradient: row r is sum over pixels of a[r][pixel] * b[pixel][cols], times scale[cols].
template <class T>
struct WeightRow {
  const T* a;
  T* weight;            // updated in place unless `sum` is set
  T* momentum;          // null: none
  T* sum;               // null: in place; otherwise the gradient is added here and the weight stays
  float* squared_norm;  // null, or where the squared gradient norm of this row is added
};
constexpr int kWeightRows = 4;

template <class T>
struct WeightGradArgs {
  WeightRow<T> rows[kWeightRows];
  int row_count;
  const T* b;
  ColumnParts parts;  // of b, if any: then the sum is one loop, over all of its rows
  Index cols;
  const T* scale;  // null: ones
  SumLoop sum;
  Sgd sgd;
};

template <class T>
struct ConvForwardArgs {
  ConvShape shape;
  const T* x;  // one image
  const T* weight;
  T* y;                      // one image
  Index row_begin, row_end;  // output rows
  Index col_begin, col_end;  // output channels, inside one group
  Index x_begin, y_begin;    // the row of the image with which x, y begin
  Affine<T> affine;          // mask and residual point at the image's first output pixel, column 0
};

// A block of `channels` neighbouring channels. Weights are [taps][weight_row].
template <class T>
struct DepthwiseArgs {
  ConvShape shape;
  const T* x;  // forward: input; input_grad: gradient of the output (one image)
  Index x_pixel;
  const T* weight;
  Index weight_row;
  T* y;  // forward: output; input_grad: gradient of the input (one image)
  Index y_pixel;
  Index channels;
  Index row_begin, row_end;  // rows of y
  Index x_begin, y_begin;    // forward only: the row of the image with which x, y begin
  bool accumulate;           // input_grad only
  Affine<T> affine;          // input_grad uses `scale` alone
};

template <class T>
struct DepthwiseWeightGradArgs {
  ConvShape shape;
  Index images;
  const T* saved;  // [images * pixels][saved_pixel], from the first channel's column on
  Index saved_pixel;
  const T* dz;  // [images * out_pixels][dz_pixel], likewise
  Index dz_pixel;
  Index channels;  // neighbours, at most kPanel
  Index tap_begin, tap_end;
  T* grad;  // [tap_end - tap_begin][channels]
};

// g *= mask, and the sum of g over the rows, for `cols` <= kPanel columns.
template <class T>
struct MaskArgs {
  T* g;
  Index g_row;
  const std::uint8_t* mask;  // null: every gradient passes
  Index mask_row;
  Index rows, cols;
  T* sum;  // null, or [cols], assigned: sums of `runs` equal runs of rows, added one after the other
  Index runs = 1;
};

// y = activation(x) for a matrix, with its mask bits if wanted; y may be x.
template <class T>
struct ActivationArgs {
  const T* x;
  T* y;
  Index row;  // elements from one row to the next, of x and of y
  Index rows, cols;
  Activation activation;
  std::uint8_t* mask;  // null: not wanted
  Index mask_row;
};

// An activation that no layer applies. Forward: y = f(x), and what backward wants of it if `kept` is set: one bit an
// element, or for a curve its derivative in `bits` bits, eight elements in as many bytes. Backward: dx = f'(x) dy, from
// `kept` or from x. Any run of elements, where something is kept one that begins with every eighth.
template <class T>
struct CurveArgs {
  Activation activation;
  T alpha, beta;
  const T* x;
  T* y;
  Index count;
  std::uint8_t* kept;
  int bits;
};
template <class T>
struct CurveGradArgs {
  Activation activation;
  T alpha, beta;
  const T* x;  // null if `kept` is set
  const std::uint8_t* kept;
  int bits;
  const T* dy;
  T* dx;
  bool accumulate;
  Index count;
};

// panel[k][j] = source[j][k] * scale[k] for k < rows, j < cols; columns up to kPanel are zero.
template <class T>
struct PackArgs {
  const T* source;
  Index source_row;
  const T* scale;  // null: ones
  T* panel;
  Index rows, cols;
};

template <class T>
struct GatherArgs {
  const T* x;
  Index x_pixel;
  const std::int32_t* channels;  // null: the first `count` channels
  T* out;
  Index out_pixel;
  Index pixels, count;
};

// The frozen batch norm as scale and shift: scale = gamma / sqrt(var + eps), shift = beta + scale * (bias - mean).
// Without statistics scale = gamma and shift = bias.
template <class T>
struct FoldArgs {
  const T *gamma, *beta, *mean, *var, *bias;  // each may be null; var null: no statistics
  double eps;
  Index count;
  T* scale;  // null: not wanted
  T* shift;  // null: not wanted
};

template <class T>
struct SgdArgs {
  T* weight;
  const T* grad;
  T* momentum;  // null: none
  Index count;
  Sgd sgd;
};

// Average pooling of one image, all channels.
template <class T>
struct PoolArgs {
  ConvShape shape;  // kernel, stride, padding; in == out
  const T* x;
  T* y;
  bool count_padding;        // divide by the kernel's size, or only by what lies inside
  bool accumulate;           // backward only
  Index row_begin, row_end;  // forward only: output rows
  Index x_begin, y_begin;    // forward only: the row of the image with which x, y begin
};

// Where the largest number of each window is: the tap, in as many bits as `bits`, a pixel's channels side by side.
// Backward x is the gradient of the output and y that of the input.
template <class T>
struct MaxPoolArgs {
  ConvShape shape;
  const T* x;
  T* y;
  std::uint8_t* taps;  // of the image's first output row; null: forward, not wanted
  int bits;            // 2, 4 or 8
  bool accumulate;     // backward only
  Index row_begin, row_end;
  Index x_begin, y_begin;
};
constexpr int tap_bits(Index taps) { return taps <= 4 ? 2 : taps <= 16 ? 4 : 8; }
constexpr Index kMostTaps = 256;
// Of a pixel.
constexpr Index tap_bytes(Index channels, Index taps) { return (channels * tap_bits(taps) + 7) / 8; }

}  // namespace sparsebp
