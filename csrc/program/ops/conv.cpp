// A single convolution (or linear layer), transposed or not, with frozen batch norm and activation.
#include "program/ops/single_layer.h"

namespace sparsebp {
namespace {

template <class T>
class Conv : public SingleLayer<T> {
 public:
  using SingleLayer<T>::SingleLayer;

  void forward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    const Affine<T> affine = this->begin_forward(context, layer, x);
    conv_forward(*context.kernels, layer, context.images, x,
                 context.values[static_cast<std::size_t>(this->spec.output)], affine);
  }

  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override {
    const Layer<T>& layer = this->layer(context);
    conv_forward_rows(*context.kernels, layer, x, y, out, this->fold(context, layer));
    context.workspace->release(this->fold_);
  }

  void backward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const OutputGrad<T> grad = this->begin_backward(context, layer);
    typename Op<T>::Target target{nullptr, false};
    T* panels = this->acquire_panels(context);
    if (panels != nullptr) target = this->input_grad(context, 0);
    conv_backward(context, layer, grad, layer.slice(this->saved(context)), target.grad, target.accumulate, panels);
  }
};

// Goes back as any convolution does: see conv_backward.
template <class T>
class ConvTranspose final : public Conv<T> {
 public:
  using Conv<T>::Conv;

  void forward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    const Affine<T> affine = this->begin_forward(context, layer, x);
    transposed_forward(*context.kernels, layer, context.images, x,
                       context.values[static_cast<std::size_t>(this->spec.output)], affine);
  }
};

template <class T>
class Depthwise final : public SingleLayer<T> {
 public:
  using SingleLayer<T>::SingleLayer;

  void forward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const ConvShape& s = layer.spec.shape;
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const Affine<T> affine = this->begin_forward(context, layer, x);
    parallel_for(context.images * s.out_height, s.out_width * s.out * s.taps(), [&](Index unit) {
      const Index n = unit / s.out_height;
      Affine<T> part = affine;
      if (part.mask != nullptr) part.mask += n * s.out_pixels() * affine.mask_row;
      filter_row(context, layer, {x + n * s.pixels() * s.in, 0}, {y + n * s.out_pixels() * s.out, 0},
                 unit % s.out_height, part);
    });
  }

  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override {
    const Layer<T>& layer = this->layer(context);
    const ConvShape& s = layer.spec.shape;
    const Affine<T> affine = this->fold(context, layer);
    parallel_for(out.end - out.begin, s.out_width * s.out * s.taps(),
                 [&](Index unit) { filter_row(context, layer, x, y, out.begin + unit, affine); });
    context.workspace->release(this->fold_);
  }

  void backward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const ConvShape& s = layer.spec.shape;
    const OutputGrad<T> grad = this->begin_backward(context, layer);
    typename Op<T>::Target target{nullptr, false};
    if (this->input_grad_) target = this->input_grad(context, 0);
    parallel_for(div_up(s.in, kPanel), context.images * s.pixels() * s.taps() * kPanel, [&](Index unit) {
      const Index c = unit * kPanel, count = std::min(kPanel, s.in - c);
      const T* scale = grad.scale != nullptr ? grad.scale + c : nullptr;
      for (Index n = 0; target.grad != nullptr && n < context.images; ++n) {
        DepthwiseArgs<T> args{};
        args.shape = s;
        args.x = grad.dz + n * s.out_pixels() * s.out + c, args.x_pixel = s.out;
        args.weight = layer.params.weight + c, args.weight_row = s.out;
        args.y = target.grad + n * s.pixels() * s.in + c, args.y_pixel = s.in;
        args.channels = count, args.row_begin = 0, args.row_end = s.height;
        args.accumulate = target.accumulate;
        args.affine.scale = scale;
        context.kernels->depthwise_input_grad(args);
      }
      layer.update_depthwise(*context.kernels, context.images, {grad.dz + c, s.out, c, count, scale},
                             layer.slice(this->saved(context)));
    });
  }

 private:
  // Output row `row` of one image.
  static void filter_row(const Context<T>& context, const Layer<T>& layer, Rows<const T> x, Rows<T> y, Index row,
                         const Affine<T>& affine) {
    const ConvShape& s = layer.spec.shape;
    DepthwiseArgs<T> args{};
    args.shape = s;
    args.x = x.data, args.x_pixel = s.in, args.x_begin = x.begin;
    args.weight = layer.params.weight, args.weight_row = s.out;
    args.y = y.data, args.y_pixel = s.out, args.y_begin = y.begin;
    args.channels = s.out, args.row_begin = row, args.row_end = row + 1;
    args.affine = affine;
    context.kernels->depthwise_forward(args);
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_conv(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Conv<T>>(op, program, declare);
}
template <class T>
std::unique_ptr<Op<T>> make_depthwise(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Depthwise<T>>(op, program, declare);
}
template <class T>
std::unique_ptr<Op<T>> make_conv_transpose(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<ConvTranspose<T>>(op, program, declare);
}

#define SPARSEBP_INSTANTIATE(T)                                                                                 \
  template std::unique_ptr<Op<T>> make_conv_transpose<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template std::unique_ptr<Op<T>> make_conv<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);           \
  template std::unique_ptr<Op<T>> make_depthwise<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
