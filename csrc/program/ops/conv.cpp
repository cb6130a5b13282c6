// A single convolution (or linear layer) with frozen batch norm and activation.
#include <algorithm>

#include "core/parallel.h"
#include "program/dense.h"
#include "program/op.h"

namespace sparsebp {
namespace {

// What conv and depthwise share: the folded batch norm, the mask, the saved slice, and dz from dy.
template <class T>
class SingleLayer : public Op<T> {
 public:
  SingleLayer(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Op<T>(op), layer_(op.layers.at(0)), input_grad_(declare.input_grad) {
    const LayerSpec& layer = program.layers[static_cast<std::size_t>(layer_)];
    const ConvShape& s = layer.shape;
    const Index out = declare.batch * s.out_pixels();
    fold_ = declare.forward_scratch("fold", 2 * s.out);
    if (!declare.in_span) return;
    if (layer.selected > 0) saved_ = declare.saved("saved", declare.batch * s.pixels() * layer.selected);
    if (layer.activation != Activation::identity) {
      mask_ = declare.masks("mask", out * mask_row_bytes(s.out));
      // The program's output gradient belongs to the caller and must not be masked in place.
      if (op.output == program.output) dz_ = declare.backward_scratch("dz", out * s.out);
    }
    if (layer.has_norm) scale_ = declare.backward_scratch("scale", s.out);
  }

 protected:
  Affine<T> begin_forward(Context<T>& context, Layer<T>& layer, const T* x) {
    const ConvShape& s = layer.spec.shape;
    T* fold = context.workspace.template acquire<T>(fold_, 2 * s.out);
    layer.fold(*context.kernels, 0, s.out, fold, fold + s.out);
    Affine<T> affine;
    affine.scale = layer.spec.has_norm ? fold : nullptr;
    affine.shift = fold + s.out;
    affine.activation = layer.spec.activation;
    if (!context.save) return affine;
    if (mask_ >= 0) {
      affine.mask_row = mask_row_bytes(s.out);
      affine.mask =
          context.training.template acquire<std::uint8_t>(mask_, context.images * s.out_pixels() * affine.mask_row);
    }
    if (saved_ >= 0) {
      const Index rows = context.images * s.height, k = layer.spec.selected;
      T* saved = context.training.template acquire<T>(saved_, rows * s.width * k);
      parallel_for(rows, s.width * k, [&](Index row) {
        layer.save(*context.kernels, x + row * s.width * s.in, s.in, s.width, 0, s.in, saved + row * s.width * k);
      });
    }
    return affine;
  }

  // dz before the batch norm's scale, masked; trains bias and shift on the way.
  OutputGrad<T> begin_backward(Context<T>& context, Layer<T>& layer) {
    const ConvShape& s = layer.spec.shape;
    const Index rows = context.images * s.out_pixels();
    T* dz = context.grads[static_cast<std::size_t>(this->spec.output)];
    if (dz_ >= 0) {
      const T* dy = dz;
      dz = context.training.template acquire<T>(dz_, rows * s.out);
      std::copy_n(dy, rows * s.out, dz);
    }
    T* scale = nullptr;
    if (scale_ >= 0) {
      scale = context.training.template acquire<T>(scale_, s.out);
      layer.fold(*context.kernels, 0, s.out, scale, nullptr);
    }
    const std::uint8_t* mask = mask_ >= 0 ? context.training.template at<std::uint8_t>(mask_) : nullptr;
    if (mask != nullptr || layer.spec.trains_bias()) {
      parallel_for(div_up(s.out, kPanel), rows * kPanel, [&](Index unit) {
        const Index c = unit * kPanel;
        T sums[kPanel];
        MaskArgs<T> args{};
        args.g = dz + c, args.g_row = s.out;
        args.mask = mask != nullptr ? mask + c / 8 : nullptr, args.mask_row = mask_row_bytes(s.out);
        args.rows = rows, args.cols = std::min(kPanel, s.out - c);
        args.sum = layer.spec.trains_bias() ? sums : nullptr;
        context.kernels->mask(args);
        layer.update_shift(*context.kernels, c, args.cols, sums, scale != nullptr ? scale + c : nullptr);
      });
    }
    return {dz, s.out, 0, s.out, scale};
  }

  const T* saved(Context<T>& context) const { return saved_ >= 0 ? context.training.template at<T>(saved_) : nullptr; }

  Layer<T>& layer(Context<T>& context) const { return context.layers[static_cast<std::size_t>(layer_)]; }

  int layer_;
  bool input_grad_;
  int fold_ = -1, saved_ = -1, mask_ = -1, dz_ = -1, scale_ = -1;
};

template <class T>
class Conv final : public SingleLayer<T> {
 public:
  Conv(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) : SingleLayer<T>(op, program, declare) {
    if (!declare.in_span || !declare.input_grad) return;
    const ConvShape& s = program.layers[static_cast<std::size_t>(this->layer_)].shape;
    panel_count_ = conv_backward_scratch(s, declare.batch, s.out);
    panels_ = declare.backward_scratch("panels", panel_count_);
  }

  void forward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    const Affine<T> affine = this->begin_forward(context, layer, x);
    conv_forward(*context.kernels, layer, context.images, x,
                 context.values[static_cast<std::size_t>(this->spec.output)], affine);
  }

  void backward(Context<T>& context) override {
    Layer<T>& layer = this->layer(context);
    const OutputGrad<T> grad = this->begin_backward(context, layer);
    typename Op<T>::Target target{nullptr, false};
    T* panels = nullptr;
    if (panels_ >= 0) {
      target = this->input_grad(context, 0);
      panels = context.training.template acquire<T>(panels_, panel_count_);
    }
    conv_backward(context, layer, grad, this->saved(context), target.grad, target.accumulate, panels);
  }

 private:
  int panels_ = -1;
  Index panel_count_ = 0;
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
      const Index n = unit / s.out_height, oy = unit % s.out_height;
      DepthwiseArgs<T> args{};
      args.shape = s;
      args.x = x + n * s.pixels() * s.in, args.x_pixel = s.in;
      args.weight = layer.params.weight, args.weight_row = s.out;
      args.y = y + n * s.out_pixels() * s.out, args.y_pixel = s.out;
      args.channels = s.out, args.row_begin = oy, args.row_end = oy + 1;
      args.affine = affine;
      if (affine.mask != nullptr) args.affine.mask += n * s.out_pixels() * affine.mask_row;
      context.kernels->depthwise_forward(args);
    });
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
                             this->saved(context));
    });
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

#define SPARSEBP_INSTANTIATE(T)                                                                       \
  template std::unique_ptr<Op<T>> make_conv<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template std::unique_ptr<Op<T>> make_depthwise<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
