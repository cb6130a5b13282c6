// Kernels that multiply nothing: the mask with its column sums, and packing.
#include <algorithm>

#include "cases.h"
#include "operands.h"
#include "program/context.h"

namespace sparsebp {
namespace {

bool is_any(const LayerShape&) { return true; }
bool is_pointwise(const LayerShape& layer) { return layer.kind == "pointwise"; }

// The gradient of a layer's output: masked if the layer has an activation, and summed for the shift's update.
class Mask final : public Case {
 public:
  explicit Mask(const Setting& setting)
      : kernels_(setting.kernels),
        cols_(setting.layer.conv.out),
        rows_(setting.batch * setting.layer.conv.out_pixels()),
        block_(setting.layer.activates() ? std::min(kBackwardBlock, cols_) : cols_),
        masked_(setting.layer.activates()),
        g_(rows_ * block_),
        bits_(rows_ * mask_row_bytes(cols_)) {}

  void run() override {
    for (Index c = 0; c < cols_; c += kPanel) {
      float sums[kPanel];
      MaskArgs<float> args{};
      args.g = g_.get() + c % block_, args.g_row = block_;
      if (masked_) args.mask = bits_.get() + panel_mask(rows_, c);
      args.mask_row = panel_mask_row(cols_, c);
      args.rows = rows_, args.cols = std::min(kPanel, cols_ - c), args.sum = sums;
      kernels_.mask(args);
    }
  }
  Index multiply_adds() const override { return 0; }

 private:
  const Kernels<float>& kernels_;
  const Index cols_, rows_, block_;
  const bool masked_;
  Numbers g_;
  Bits bits_;
};

// All weights of a layer, as its input gradient packs them, panel by panel.
class Pack final : public Case {
 public:
  explicit Pack(const Setting& setting)
      : kernels_(setting.kernels),
        shape_(setting.layer.conv),
        rows_(std::min(setting.layer.widens() ? kBackwardBlock : kPanelRows, shape_.out)),
        weight_(shape_.weights()),
        scale_(shape_.out),
        panel_(rows_ * kPanel) {}

  void run() override {
    for (Index first = 0; first < shape_.out; first += rows_) {
      for (Index c = 0; c < shape_.in; c += kPanel) {
        PackArgs<float> args{};
        args.source = weight_.get() + c * shape_.out + first, args.source_row = shape_.out;
        args.scale = scale_.get() + first;
        args.panel = panel_.get();
        args.rows = std::min(rows_, shape_.out - first), args.cols = std::min(kPanel, shape_.in - c);
        kernels_.pack(args);
      }
    }
  }
  Index multiply_adds() const override { return 0; }

 private:
  const Kernels<float>& kernels_;
  const ConvShape shape_;
  const Index rows_;
  Numbers weight_, scale_, panel_;
};

}  // namespace

std::vector<KernelBench> elementwise_benches() {
  return {
      {"mask", "the gradient through the activation, and its column sums", &is_any, &make_case<Mask>},
      {"pack", "the weights for the input gradient", &is_pointwise, &make_case<Pack>},
  };
}

}  // namespace sparsebp
