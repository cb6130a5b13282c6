// Average pooling; global pooling is a window of the image's size. Split over images.
#include "platform/parallel.h"
#include "program/op.h"

namespace sparsebp {
namespace {

template <class T>
class Pool final : public Op<T> {
 public:
  explicit Pool(const OpSpec& op) : Op<T>(op) {}

  void forward(Context<T>& context) override {
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const ConvShape& s = this->spec.window;
    parallel_for(context.images, s.out_pixels() * s.taps() * s.in, [&](Index n) {
      context.kernels->pool_forward(
          {s, x + n * s.pixels() * s.in, y + n * s.out_pixels() * s.in, this->spec.count_padding, false});
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const ConvShape& s = this->spec.window;
    parallel_for(context.images, s.out_pixels() * s.taps() * s.in, [&](Index n) {
      context.kernels->pool_backward({s, dy + n * s.out_pixels() * s.in, target.grad + n * s.pixels() * s.in,
                                      this->spec.count_padding, target.accumulate});
    });
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_pool(const OpSpec& op, const ProgramSpec&, const Declare<T>&) {
  return std::make_unique<Pool<T>>(op);
}
template std::unique_ptr<Op<float>> make_pool<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_pool<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
