// One number of each pixel: the mean or the largest of its channels. A thread takes a pixel.
#include "cuda/elementwise.cuh"
#include "cuda/ops.h"
#include "program/ops/channel_pool_buffers.h"

namespace sparsebp::cuda {
namespace {

struct ChannelPoolArgs {
  const float* x;  // backward: gradient of the output
  float* y;        // backward: gradient of the input
  Index pixels, channels;
  Reduction reduction;
  Mask mask;  // the channels that get the gradient; without data: not wanted, or all
  bool accumulate;
};

__global__ void channel_pool_forward(ChannelPoolArgs args) {
  await_inputs();
  const Index pixel = element();
  if (pixel >= args.pixels) return;
  const float* x = args.x + pixel * args.channels;
  if (args.reduction == Reduction::mean) {
    float sum = 0;
    for (Index c = 0; c < args.channels; ++c) sum += x[c];
    args.y[pixel] = sum / static_cast<float>(args.channels);
    return;
  }
  Index largest = 0;
  for (Index c = 1; c < args.channels && x[largest] == x[largest]; ++c) {
    if (x[c] > x[largest] || x[c] != x[c]) largest = c;
  }
  args.y[pixel] = x[largest];
  if (args.mask.data == nullptr) return;
  const bool all = args.reduction == Reduction::all_largest;
  for (Index first = 0; first < args.channels; first += 8) {
    unsigned bits = 0;
    for (Index c = first; c < first + 8 && c < args.channels; ++c) {
      bits |= static_cast<unsigned>(c == largest || (all && x[c] == x[largest])) << (c - first);
    }
    *args.mask.byte(pixel, first) = static_cast<std::uint8_t>(bits);
  }
}

__global__ void channel_pool_backward(ChannelPoolArgs args) {
  await_inputs();
  const Index pixel = element();
  if (pixel >= args.pixels) return;
  Index count = 0;
  for (Index c = 0; c < args.channels; ++c) count += args.mask.passes(pixel, c) ? 1 : 0;
  const float share = args.x[pixel] / static_cast<float>(count);
  for (Index c = 0; c < args.channels; ++c) {
    put(args.y[pixel * args.channels + c], args.mask.passes(pixel, c) ? share : 0.0f, args.accumulate);
  }
}

class ChannelPool final : public ChannelPoolBuffers<float> {
 public:
  ChannelPool(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : ChannelPoolBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    run(context, &channel_pool_forward, cuda::value(context, spec.inputs[0]), output(context, spec.output),
        acquire_mask(context), false);
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    run(context, &channel_pool_backward, gradient(context, spec.output), target.grad, mask(context), target.accumulate);
  }

 private:
  void run(const Context& context, void (*kernel)(ChannelPoolArgs), const float* x, float* y, std::uint8_t* mask,
           bool accumulate) const {
    const Index pixels = rows(context);
    each(driver_.queue, kernel, pixels,
         ChannelPoolArgs{x, y, pixels, in_, spec.reduction, Mask{mask, pixels, in_, false}, accumulate});
  }
  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_channel_pool(const OpSpec& op, const ProgramSpec& program,
                                             const Declare<float>& declare, const Driver& driver) {
  return std::make_unique<ChannelPool>(op, program, declare, driver);
}

}  // namespace sparsebp::cuda
