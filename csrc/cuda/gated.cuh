// What a gate does to the gradients of the tensor that it multiplies.
#pragma once

#include "cuda/elementwise.cuh"

namespace sparsebp::cuda {

// A block of `count` channels of the filtered tensor, whose pixels lie `row` apart, and of each image's gate and means.
struct GateArgs {
  float *filtered, *d_filtered;
  const float *gate, *d_means;
  float* d_gate;
  Index images, pixels, row, count, gate_row;
};

constexpr int kGateThreads = 64;

// A block for each channel of each image: d_gate = sum of d_filtered * filtered.
[[maybe_unused]] static __global__ void gate_gradient(GateArgs args) {
  await_inputs();
  __shared__ float shared[kGateThreads];
  const auto [image, c] = divide(blockIdx.x, args.count);
  float part = 0;
  for (Index pixel = threadIdx.x; pixel < args.pixels; pixel += kGateThreads) {
    const Index at = (image * args.pixels + pixel) * args.row + c;
    part += args.d_filtered[at] * args.filtered[at];
  }
  const float sum = block_sum(part, shared);
  if (threadIdx.x == 0) args.d_gate[image * args.gate_row + c] = sum;
}

// What the projection reads is gated; a gradient passes the gate, and the mean that the gate is made of.
[[maybe_unused]] static __global__ void pass_gate(GateArgs args) {
  await_inputs();
  const auto [row, c] = divide(element(), args.count);
  if (row >= args.images * args.pixels) return;
  const Index at = row * args.row + c, of_image = divide(row, args.pixels).quotient * args.gate_row + c;
  args.filtered[at] *= args.gate[of_image];
  const float through_mean = args.d_means[of_image] / static_cast<float>(args.pixels);
  args.d_filtered[at] = args.d_filtered[at] * args.gate[of_image] + through_mean;
}

}  // namespace sparsebp::cuda
