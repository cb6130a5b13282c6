// Max-pooling.
#include "platform/parallel.h"
#include "program/ops/max_pool_buffers.h"

namespace sparsebp {
namespace {

template <class T>
class MaxPool final : public MaxPoolBuffers<T> {
 public:
  using MaxPoolBuffers<T>::MaxPoolBuffers;

  void forward(Context<T>& context) override {
    const ConvShape& s = this->spec.window;
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    std::uint8_t* taps = this->acquire_taps(context);
    parallel_for(context.images * s.out_height, s.out_width * s.taps() * s.in, [&](Index unit) {
      const Index n = unit / s.out_height, row = unit % s.out_height;
      MaxPoolArgs<T> args = window({row, row + 1});
      args.x = x + n * s.pixels() * s.in, args.y = y + n * s.out_pixels() * s.in;
      args.taps = taps != nullptr ? taps + n * s.out_pixels() * this->pixel_ : nullptr;
      context.kernels->max_pool_forward(args);
    });
  }

  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override {
    MaxPoolArgs<T> args = window(out);
    args.x = x.data, args.x_begin = x.begin;
    args.y = y.data, args.y_begin = y.begin;
    context.kernels->max_pool_forward(args);
  }

  void backward(Context<T>& context) override {
    const ConvShape& s = this->spec.window;
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    std::uint8_t* taps = this->taps(context);
    parallel_for(context.images, s.pixels() * s.in + s.out_pixels() * s.in, [&](Index n) {
      MaxPoolArgs<T> args = window({0, s.out_height});
      args.x = dy + n * s.out_pixels() * s.in, args.y = target.grad + n * s.pixels() * s.in;
      args.taps = taps + n * s.out_pixels() * this->pixel_;
      args.accumulate = target.accumulate;
      context.kernels->max_pool_backward(args);
    });
  }

 private:
  MaxPoolArgs<T> window(Range rows) const {
    MaxPoolArgs<T> args{};
    args.shape = this->spec.window, args.bits = tap_bits(args.shape.taps());
    args.row_begin = rows.begin, args.row_end = rows.end;
    return args;
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_max_pool(const OpSpec& op, const ProgramSpec&, const Declare<T>& declare) {
  return std::make_unique<MaxPool<T>>(op, declare);
}
template std::unique_ptr<Op<float>> make_max_pool<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_max_pool<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
