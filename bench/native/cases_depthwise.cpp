// Depthwise convolutions, kPanel channels at a time, as a block of the network calls them.
#include <algorithm>

#include "trained_layer.h"

namespace sparsebp {
namespace {

bool is_depthwise(const LayerShape& layer) { return layer.kind == "depthwise"; }

class DepthwiseCase : public Case {
 public:
  DepthwiseCase(const Setting& setting, bool trains)
      : kernels_(setting.kernels),
        shape_(setting.layer.conv),
        batch_(setting.batch),
        trained_(setting, trains),
        scale_(shape_.out) {}

  Index multiply_adds() const override { return batch_ * connections(shape_) * shape_.in; }

 protected:
  // Of channels [c, c + kPanel), in tensors of `columns` columns.
  DepthwiseArgs<float> panel_args(Index c, Index columns) const {
    DepthwiseArgs<float> args{};
    args.shape = shape_;
    args.x_pixel = args.y_pixel = columns;
    args.weight = trained_.layer.params.weight + c, args.weight_row = shape_.out;
    args.channels = std::min(kPanel, shape_.in - c);
    args.affine.scale = scale_.get() + c;
    return args;
  }

  const Kernels<float>& kernels_;
  const ConvShape shape_;
  const Index batch_;
  TrainedLayer trained_;
  Numbers scale_;
};

// Strip by strip; the input holds the rows that a strip of output rows reaches.
class DepthwiseForward final : public DepthwiseCase {
 public:
  explicit DepthwiseForward(const Setting& setting)
      : DepthwiseCase(setting, false),
        strip_(std::min(shape_.out_height, strip_rows(shape_.stride_h * shape_.width * shape_.in))),
        shift_(shape_.out),
        x_((strip_ * shape_.stride_h + shape_.kernel_h) * shape_.width * shape_.in),
        y_(strip_ * shape_.out_width * shape_.out),
        mask_(batch_ * shape_.out_pixels() * mask_row_bytes(shape_.out)) {}

  void run() override {
    for (Index n = 0; n < batch_; ++n) {
      for (Index row = 0; row < shape_.out_height; row += strip_) {
        for (Index c = 0; c < shape_.in; c += kPanel) run_panel(n, row, c);
      }
    }
  }

 private:
  void run_panel(Index n, Index row, Index c) const {
    DepthwiseArgs<float> args = panel_args(c, shape_.in);
    args.x = x_.get() + c, args.y = y_.get() + c;
    args.row_begin = row, args.row_end = std::min(row + strip_, shape_.out_height);
    args.x_begin = std::max<Index>(0, row * shape_.stride_h - shape_.pad_h), args.y_begin = row;
    args.affine.shift = shift_.get() + c, args.affine.activation = Activation::relu6;
    args.affine.mask_row = panel_mask_row(shape_.out, c);
    args.affine.mask =
        mask_.get() + panel_mask(batch_ * shape_.out_pixels(), c) + n * shape_.out_pixels() * args.affine.mask_row;
    kernels_.depthwise_forward(args);
  }

  const Index strip_;  // output rows
  Numbers shift_, x_, y_;
  Bits mask_;
};

// Channel block by channel block, of which two panels exist at once.
class DepthwiseInputGrad final : public DepthwiseCase {
 public:
  explicit DepthwiseInputGrad(const Setting& setting)
      : DepthwiseCase(setting, false),
        dy_(batch_ * shape_.out_pixels() * kBackwardBlock),
        dx_(batch_ * shape_.pixels() * kBackwardBlock) {}

  void run() override {
    for (Index c = 0; c < shape_.in; c += kPanel) {
      DepthwiseArgs<float> args = panel_args(c, kBackwardBlock);
      args.row_begin = 0, args.row_end = shape_.height;
      for (Index n = 0; n < batch_; ++n) {
        args.x = dy_.get() + n * shape_.out_pixels() * kBackwardBlock + c % kBackwardBlock;
        args.y = dx_.get() + n * shape_.pixels() * kBackwardBlock + c % kBackwardBlock;
        kernels_.depthwise_input_grad(args);
      }
    }
  }

 private:
  Numbers dy_, dx_;
};

class DepthwiseWeightGrad final : public DepthwiseCase {
 public:
  explicit DepthwiseWeightGrad(const Setting& setting)
      : DepthwiseCase(setting, true),
        dy_(batch_ * shape_.out_pixels() * kBackwardBlock),
        saved_(batch_ * shape_.pixels() * trained_.layer.spec.selected) {}

  void run() override {
    const Slice<float> saved{saved_.get(), trained_.layer.spec.selected};
    for (Index c = 0; c < shape_.in; c += kPanel) {
      const Index count = std::min(kPanel, shape_.in - c);
      const float* dy = dy_.get() + c % kBackwardBlock;
      trained_.layer.update_depthwise(kernels_, batch_, {dy, kBackwardBlock, c, count, scale_.get() + c}, saved);
    }
  }
  Index multiply_adds() const override { return batch_ * connections(shape_) * trained_.layer.spec.selected; }

 private:
  Numbers dy_, saved_;
};

}  // namespace

std::vector<KernelBench> depthwise_benches() {
  return {
      {"depthwise_forward", "with scale, shift, ReLU6 and mask", &is_depthwise, &make_case<DepthwiseForward>},
      {"depthwise_input_grad", "the gradient of the block's wide tensor", &is_depthwise,
       &make_case<DepthwiseInputGrad>},
      {"depthwise_weight_grad", "the update set's channels, applied in place", &is_depthwise,
       &make_case<DepthwiseWeightGrad>},
  };
}

}  // namespace sparsebp
