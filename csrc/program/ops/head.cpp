// The last convolution and the global average pooling behind it, streamed: of the widest tensor of the network
// (1280 x 7 x 7 in MobileNetV2) only one channel block exists at a time.
#include <algorithm>

#include "platform/parallel.h"
#include "program/ops/activate.h"
#include "program/ops/head_buffers.h"

namespace sparsebp {
namespace {

template <class T>
class Head final : public HeadBuffers<T> {
 public:
  using HeadBuffers<T>::HeadBuffers;

  void forward(Context<T>& context) override {
    const Kernels<T>& kernels = *context.kernels;
    const Layer<T>& layer = context.layers[static_cast<std::size_t>(layer_)];
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const Index rows = context.images * pixels_;
    T* fold = context.workspace->template acquire<T>(fold_, 2 * out_);
    T* z = context.workspace->template acquire<T>(z_, rows * forward_block_);
    std::uint8_t* mask = context.save ? this->acquire_mask(context) : nullptr;
    if (context.save && this->remakes()) std::copy_n(x, rows * in_, this->acquire_kept(context));
    if (T* saved = context.save ? this->acquire_saved(context) : nullptr) {
      layer.save(kernels, x, in_, rows, 0, in_, layer.slice(saved));
    }
    for (Index first = 0; first < out_; first += forward_block_) {
      const Index width = std::min(forward_block_, out_ - first);
      for_columns(kernels, width, rows * in_ * kPanel, [&](Index column, Index count) {
        const Index c = first + column;
        layer.fold(kernels, c, count, fold + c, fold + out_ + c);
        GemmArgs<T> args{};
        args.a = x, args.a_row = in_;
        args.b = layer.params.weight + c;
        args.c = z + column, args.c_row = forward_block_;
        args.rows = rows, args.cols = count;
        args.sum.n1 = in_, args.sum.b1 = out_;
        args.store = Store::affine;
        args.affine.scale = layer.spec.has_norm ? fold + c : nullptr;
        args.affine.shift = fold + out_ + c;
        if (is_layers(layer.spec.activation)) args.affine.activation = layer.spec.activation;
        gemm_with_panel_bits(kernels, args, mask != nullptr ? mask + panel_mask(rows, c) : nullptr, rows, 0, out_, c);
        if (!is_layers(layer.spec.activation)) {
          for (Index m = 0; m < rows; ++m) {
            T* row = args.c + m * forward_block_;
            activate(kernels, layer.spec.activation, row, row, count);
          }
        }
        for (Index done = 0; done < count; done += kPanel) {
          pool(kernels, args.c + done, std::min(kPanel, count - done), context.images, y + c + done);
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
    const std::uint8_t* mask = this->mask(context);
    const T* kept = this->remakes() ? this->kept(context) : nullptr;
    T* again = kept != nullptr ? context.training.template acquire<T>(again_, rows * backward_block_) : nullptr;
    const Slice<T> saved = kept != nullptr ? Slice<T>{const_cast<T*>(kept), in_, 0} : layer.slice(this->saved(context));
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
        if (kept != nullptr) pass_curve(kernels, layer, kept, again + unit * kPanel, rows, c, count, g);
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
  // The mean over the pixels of each image, for `count` <= kPanel channels.
  void pool(const Kernels<T>& kernels, T* z, Index count, Index images, T* y) const {
    const T weight = T(1) / static_cast<T>(pixels_);
    for (Index n = 0; n < images; ++n) {
      T sums[kPanel];
      MaskArgs<T> sum{};  // without a mask z is only read
      sum.g = z + n * pixels_ * forward_block_, sum.g_row = forward_block_;
      sum.rows = pixels_, sum.cols = count, sum.sum = sums;
      kernels.mask(sum);
      for (Index i = 0; i < count; ++i) y[n * out_ + i] = sums[i] * weight;
    }
  }

  // The gradient of what `count` <= kPanel channels are before their activation, from that of what they are after it.
  void pass_curve(const Kernels<T>& kernels, const Layer<T>& layer, const T* x, T* before, Index rows, Index c,
                  Index count, T* g) const {
    T fold[2 * kPanel];
    layer.fold(kernels, c, count, fold, fold + kPanel);
    GemmArgs<T> args{};
    args.a = x, args.a_row = in_;
    args.b = layer.params.weight + c;
    args.c = before, args.c_row = backward_block_;
    args.rows = rows, args.cols = count;
    args.sum.n1 = in_, args.sum.b1 = out_;
    args.store = Store::affine;
    args.affine.scale = layer.spec.has_norm ? fold : nullptr, args.affine.shift = fold + kPanel;
    kernels.gemm(args);
    for (Index m = 0; m < rows; ++m) {
      activate_backward(kernels, layer.spec.activation, before + m * backward_block_, g + m * backward_block_, count);
    }
  }

  using Base = HeadBuffers<T>;
  using Base::input_grad_, Base::in_, Base::out_, Base::pixels_, Base::forward_block_, Base::backward_block_;
  using Base::layer_, Base::fold_, Base::z_, Base::dz_, Base::scale_, Base::panels_, Base::panel_count_, Base::again_;
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_head(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Head<T>>(op, program, declare);
}
template std::unique_ptr<Op<float>> make_head<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_head<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
