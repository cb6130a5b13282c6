// A batch norm, or a scale and a shift per channel, that no convolution absorbed; with an activation if there is one.
#include "program/ops/single_layer.h"

namespace sparsebp {
namespace {

template <class T>
class Norm final : public SingleLayer<T> {
 public:
  using SingleLayer<T>::SingleLayer;

  void forward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const ConvShape& s = layer.spec.shape;
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const Affine<T> affine = this->begin_forward(context, layer, x);
    parallel_for(context.images * s.height, s.width * s.in, [&](Index row) {
      Affine<T> part = affine;
      if (part.mask != nullptr) part.mask += row * s.width * affine.mask_row;
      put(context, x + row * s.width * s.in, y + row * s.width * s.in, s.width, s.in, part);
    });
  }

  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override {
    const Layer<T>& layer = this->layer(context);
    const ConvShape& s = layer.spec.shape;
    const Index row = s.width * s.in;
    put(context, x.data + (out.begin - x.begin) * row, y.data + (out.begin - y.begin) * row,
        (out.end - out.begin) * s.width, s.in, this->fold(context, layer));
    context.workspace->release(this->fold_);
  }

  void backward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const ConvShape& s = layer.spec.shape;
    const OutputGrad<T> grad = this->begin_backward(context, layer);
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    parallel_for(context.images * s.pixels(), s.in, [&](Index pixel) {
      const T* dz = grad.dz + pixel * s.in;
      T* dx = target.grad + pixel * s.in;
      for (Index c = 0; c < s.in; ++c) {
        const T g = dz[c] * grad.scale[c];
        dx[c] = target.accumulate ? dx[c] + g : g;
      }
    });
  }

 private:
  static void put(const Context<T>& context, const T* x, T* y, Index pixels, Index channels, const Affine<T>& affine) {
    std::copy_n(x, pixels * channels, y);
    affine_in_place(*context.kernels, y, channels, pixels, channels, affine);
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_norm(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Norm<T>>(op, program, declare);
}
template std::unique_ptr<Op<float>> make_norm<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_norm<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
