// The last convolution and the global average pooling behind it, streamed: of the widest tensor of the network
// (1280 x 7 x 7 in MobileNetV2) only one channel block exists at a time.
#include <algorithm>

#include "core/parallel.h"
#include "program/dense.h"
#include "program/op.h"

namespace sparsebp {
namespace {

// Channels of the forward pass's block, from the bytes of one: such a block stays in a second-level cache.
Index forward_block(Index channel_bytes) {
  constexpr Index kBytes = 128 * 1024;
  return kPanel * std::max<Index>(2, kBytes / std::max<Index>(kPanel * channel_bytes, 1));
}

template <class T>
class Head final : public Op<T> {
 public:
  Head(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Op<T>(op), layer_(op.layers.at(0)), input_grad_(declare.input_grad) {
    const LayerSpec& layer = program.layers[static_cast<std::size_t>(layer_)];
    in_ = layer.shape.in, out_ = layer.shape.out, pixels_ = layer.shape.pixels();
    forward_block_ = std::min(forward_block(declare.batch * pixels_ * sizeof(T)), out_),
    backward_block_ = std::min(op.block, out_);
    const Index rows = declare.batch * pixels_;
    fold_ = declare.forward_scratch("fold", 2 * out_);
    z_ = declare.forward_scratch("z", rows * forward_block_);
    if (!declare.in_span) return;
    if (layer.selected > 0) saved_ = declare.saved("saved", rows * layer.selected);
    if (layer.activation != Activation::identity) mask_ = declare.masks("mask", rows * mask_row_bytes(out_));
    dz_ = declare.backward_scratch("dz", rows * backward_block_);
    scale_ = declare.backward_scratch("scale", backward_block_);
    if (input_grad_) {
      panel_count_ = conv_backward_scratch(layer.shape, declare.batch, backward_block_);
      panels_ = declare.backward_scratch("panels", panel_count_);
    }
  }

  void forward(Context<T>& context) override {
    const Kernels<T>& kernels = *context.kernels;
    const Layer<T>& layer = context.layers[static_cast<std::size_t>(layer_)];
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const Index rows = context.images * pixels_;
    T* fold = context.workspace.template acquire<T>(fold_, 2 * out_);
    T* z = context.workspace.template acquire<T>(z_, rows * forward_block_);
    std::uint8_t* mask = nullptr;
    if (context.save) {
      if (mask_ >= 0) mask = context.training.template acquire<std::uint8_t>(mask_, rows * mask_row_bytes(out_));
      if (saved_ >= 0) {
        T* saved = context.training.template acquire<T>(saved_, rows * layer.spec.selected);
        layer.save(kernels, x, in_, rows, 0, in_, saved);
      }
    }
    const T weight = T(1) / static_cast<T>(pixels_);
    for (Index first = 0; first < out_; first += forward_block_) {
      const Index width = std::min(forward_block_, out_ - first);
      parallel_for(div_up(width, kPanel), rows * in_ * kPanel, [&](Index unit) {
        const Index c = first + unit * kPanel, count = std::min(kPanel, first + width - c);
        layer.fold(kernels, c, count, fold + c, fold + out_ + c);
        GemmArgs<T> args{};
        args.a = x, args.a_row = in_;
        args.b = layer.params.weight + c;
        args.c = z + unit * kPanel, args.c_row = forward_block_;
        args.rows = rows, args.cols = count;
        args.sum.n1 = in_, args.sum.b1 = out_;
        args.store = Store::affine;
        args.affine.scale = layer.spec.has_norm ? fold + c : nullptr;
        args.affine.shift = fold + out_ + c;
        args.affine.activation = layer.spec.activation;
        if (mask != nullptr) args.affine.mask = mask + panel_mask(rows, c);
        args.affine.mask_row = panel_mask_row(out_, c);
        kernels.gemm(args);
        for (Index n = 0; n < context.images; ++n) {
          T sums[kPanel];
          MaskArgs<T> sum{};
          sum.g = args.c + n * pixels_ * forward_block_, sum.g_row = forward_block_;
          sum.rows = pixels_, sum.cols = count, sum.sum = sums;
          kernels.mask(sum);
          for (Index i = 0; i < count; ++i) y[n * out_ + c + i] = sums[i] * weight;
        }
      });
    }
  }

  void backward(Context<T>& context) override {
    const Kernels<T>& kernels = *context.kernels;
    Layer<T>& layer = context.layers[static_cast<std::size_t>(layer_)];
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const Index rows = context.images * pixels_;
    T* dz = context.training.template acquire<T>(dz_, rows * backward_block_);
    T* scale = context.training.template acquire<T>(scale_, backward_block_);
    T* panels = panels_ >= 0 ? context.training.template acquire<T>(panels_, panel_count_) : nullptr;
    const std::uint8_t* mask = mask_ >= 0 ? context.training.template at<std::uint8_t>(mask_) : nullptr;
    const T* saved = saved_ >= 0 ? context.training.template at<T>(saved_) : nullptr;
    typename Op<T>::Target target{nullptr, false};
    if (input_grad_) target = this->input_grad(context, 0);

    const T weight = T(1) / static_cast<T>(pixels_);
    for (Index first = 0; first < out_; first += backward_block_) {
      const Index width = std::min(backward_block_, out_ - first);
      parallel_for(div_up(width, kPanel), 3 * rows * kPanel, [&](Index unit) {
        const Index c = first + unit * kPanel, count = std::min(kPanel, first + width - c);
        T* g = dz + unit * kPanel;
        for (Index m = 0; m < rows; ++m) {
          const T* pooled = dy + m / pixels_ * out_ + c;
          for (Index i = 0; i < count; ++i) g[m * backward_block_ + i] = pooled[i] * weight;
        }
        T sums[kPanel];
        MaskArgs<T> args{};
        args.g = g, args.g_row = backward_block_;
        if (mask != nullptr) args.mask = mask + panel_mask(rows, c);
        args.mask_row = panel_mask_row(out_, c);
        args.rows = rows, args.cols = count, args.sum = sums;
        kernels.mask(args);
        layer.fold(kernels, c, count, scale + unit * kPanel, nullptr);
        layer.update_shift(kernels, c, count, sums, layer.spec.has_norm ? scale + unit * kPanel : nullptr);
      });
      conv_backward(context, layer, {dz, backward_block_, first, width, layer.spec.has_norm ? scale : nullptr}, saved,
                    target.grad, target.accumulate || first > 0, panels);
    }
  }

 private:
  const int layer_;
  const bool input_grad_;
  Index in_, out_, pixels_, forward_block_, backward_block_, panel_count_ = 0;
  int fold_ = -1, z_ = -1, saved_ = -1, mask_ = -1, dz_ = -1, scale_ = -1, panels_ = -1;
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_head(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Head<T>>(op, program, declare);
}
template std::unique_ptr<Op<float>> make_head<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_head<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
