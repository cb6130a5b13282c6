// Kernels that only move numbers.
#pragma once

#include "cuda/elementwise.cuh"

namespace sparsebp::cuda {

// Columns of a matrix, of which those of another are made.
struct ColumnsMoveArgs {
  const float* x;
  float* y;
  Index x_row, y_row;  // elements from one row to the next
  Index rows, count;
  bool accumulate;
};

[[maybe_unused]] static __global__ void move_columns(ColumnsMoveArgs args) {
  await_inputs();
  const auto [row, c] = divide(element(), args.count);
  if (row < args.rows) put(args.y[row * args.y_row + c], args.x[row * args.x_row + c], args.accumulate);
}

struct MapArgs {
  const float* x;  // [units][in]; backward: gradient of the output, [units][out]
  float* y;        // [units][out]; backward: gradient of the input, [units][in]
  Index units, in, out;
  const std::int32_t* map;  // [out]
  // By input number: the first of its places among all, of which there are `out`; and the output numbers that take it.
  const std::int32_t *firsts, *places;
  bool accumulate;
};

[[maybe_unused]] static __global__ void map_forward(MapArgs args) {
  await_inputs();
  const Index i = element();
  const auto [unit, j] = divide(i, args.out);
  if (unit < args.units) args.y[i] = args.x[unit * args.in + args.map[j]];
}

[[maybe_unused]] static __global__ void map_backward(MapArgs args) {
  await_inputs();
  const Index i = element();
  const auto [unit, j] = divide(i, args.in);
  if (unit >= args.units) return;
  float sum = args.accumulate ? args.y[i] : 0.0f;
  for (std::int32_t k = args.firsts[j]; k < args.firsts[j + 1]; ++k) sum += args.x[unit * args.out + args.places[k]];
  args.y[i] = sum;
}

// How the numbers of an image lie that are counted channel by channel.
struct Planes {
  Index pixels, channels;

  __device__ Index place(Index i) const {
    const auto [channel, pixel] = divide(i, pixels);
    return pixel * channels + channel;
  }
};

struct ReshapeArgs {
  const float* x;
  float* y;
  Index images;
  Planes from, to;
  bool accumulate;
};

[[maybe_unused]] static __global__ void reshape(ReshapeArgs args) {
  await_inputs();
  const Index count = args.from.pixels * args.from.channels;
  const auto [image, i] = divide(element(), count);
  if (image >= args.images) return;
  put(args.y[image * count + args.to.place(i)], args.x[image * count + args.from.place(i)], args.accumulate);
}

// An image inside a larger one.
struct ZerosArgs {
  const float* x;  // backward: gradient of the larger one
  float* y;        // backward: gradient of the inner one
  Index images, height, width, out_height, out_width, channels, top, left;
  bool accumulate;
};

[[maybe_unused]] static __global__ void zeros_forward(ZerosArgs args) {
  await_inputs();
  const Index i = element();
  const auto [pixel, c] = divide(i, args.channels);
  const auto [n, oy, ox] = pixel_of(pixel, args.out_height * args.out_width, args.out_width);
  if (n >= args.images) return;
  const Index y = oy - args.top, x = ox - args.left;
  const bool inside = y >= 0 && x >= 0 && y < args.height && x < args.width;
  args.y[i] = inside ? args.x[((n * args.height + y) * args.width + x) * args.channels + c] : 0.0f;
}

[[maybe_unused]] static __global__ void zeros_backward(ZerosArgs args) {
  await_inputs();
  const Index i = element();
  const auto [pixel, c] = divide(i, args.channels);
  const auto [n, y, x] = pixel_of(pixel, args.height * args.width, args.width);
  if (n >= args.images) return;
  const Index out = (n * args.out_height + y + args.top) * args.out_width + x + args.left;
  put(args.y[i], args.x[out * args.channels + c], args.accumulate);
}

}  // namespace sparsebp::cuda
