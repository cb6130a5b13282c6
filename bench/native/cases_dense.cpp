// Pointwise convolutions and the first one: what dense.cpp and the ops do with gemm, gemm_transposed, pack, weight_grad
// and conv_forward.
#include <algorithm>

#include "program/convolution.h"
#include "trained_layer.h"

namespace sparsebp {
namespace {

bool is_pointwise(const LayerShape& layer) { return layer.kind == "pointwise"; }
bool is_conv(const LayerShape& layer) { return layer.kind == "conv"; }

// What the cases of one layer share.
class DenseCase : public Case {
 public:
  DenseCase(const Setting& setting, bool trains)
      : kernels_(setting.kernels),
        shape_(setting.layer.conv),
        batch_(setting.batch),
        in_rows_(batch_ * shape_.pixels()),
        out_rows_(batch_ * shape_.out_pixels()),
        widens_(setting.layer.widens()),
        trained_(setting, trains),
        scale_(shape_.out) {}

  Index multiply_adds() const override { return batch_ * connections(shape_) * shape_.in * shape_.out; }

 protected:
  const Kernels<float>& kernels_;
  const ConvShape shape_;
  const Index batch_, in_rows_, out_rows_;
  const bool widens_;
  TrainedLayer trained_;
  Numbers scale_;
};

// An expansion with scale, shift, ReLU6 and mask, or a projection with scale and shift; strip by strip.
class PointwiseForward final : public DenseCase {
 public:
  explicit PointwiseForward(const Setting& setting)
      : DenseCase(setting, false),
        strip_(std::min(in_rows_, shape_.width * strip_rows(shape_.width * std::max(shape_.in, shape_.out)))),
        shift_(shape_.out),
        narrow_(in_rows_ * std::min(shape_.in, shape_.out)),
        wide_(strip_ * std::max(shape_.in, shape_.out)),
        mask_(in_rows_ * mask_row_bytes(shape_.out)) {}

  void run() override {
    for (Index first = 0; first < in_rows_; first += strip_) {
      GemmArgs<float> args{};
      args.a = widens_ ? narrow_.get() + first * shape_.in : wide_.get(), args.a_row = shape_.in;
      args.b = trained_.layer.params.weight;
      args.c = widens_ ? wide_.get() : narrow_.get() + first * shape_.out, args.c_row = shape_.out;
      args.rows = std::min(strip_, in_rows_ - first), args.cols = shape_.out;
      args.sum.n1 = shape_.in, args.sum.b1 = shape_.out;
      args.store = Store::affine;
      args.affine.scale = scale_.get(), args.affine.shift = shift_.get();
      args.affine.activation = trained_.layer.spec.activation;
      widens_ ? expand(args, first) : parallel_gemm(kernels_, args);
    }
  }

 private:
  void expand(const GemmArgs<float>& args, Index first) const {
    for (Index c = 0; c < shape_.out; c += kPair) {
      gemm_with_panel_bits(kernels_, columns_of(args, c, std::min(kPair, shape_.out - c)),
                           mask_.get() + panel_mask(in_rows_, c), in_rows_, first, shape_.out, c);
    }
  }

  const Index strip_;  // pixels
  Numbers shift_, narrow_, wide_;
  Bits mask_;
};

// An expansion's gradient comes channel block by channel block; each block adds to the input gradient.
class ExpandInputGrad final : public DenseCase {
 public:
  explicit ExpandInputGrad(const Setting& setting)
      : DenseCase(setting, false),
        block_(std::min(kBackwardBlock, shape_.out)),
        dz_(out_rows_ * block_),
        dx_(in_rows_ * shape_.in),
        panels_(conv_backward_scratch(shape_, batch_, block_)) {
    context_.kernels = &kernels_;
    context_.batch = context_.images = batch_;
  }

  void run() override {
    for (Index c = 0; c < shape_.out; c += block_) {
      const OutputGrad<float> grad{dz_.get(), block_, c, std::min(block_, shape_.out - c), scale_.get() + c};
      conv_backward<float>(context_, trained_.layer, grad, {}, dx_.get(), c > 0, panels_.get());
    }
  }

 private:
  const Index block_;
  Numbers dz_, dx_, panels_;
  Context<float> context_;
};

// A projection's gradient is whole, and its input's is made channel block by channel block.
class ProjectInputGrad final : public DenseCase {
 public:
  explicit ProjectInputGrad(const Setting& setting)
      : DenseCase(setting, false),
        block_(std::min(kBackwardBlock, shape_.in)),
        packs_gradient_(packs_gradient(shape_, batch_, kBackwardBlock)),
        dy_(out_rows_ * shape_.out),
        d_wide_(in_rows_ * block_),
        panels_(packs_gradient_ ? packed_gradient(out_rows_, shape_.out) : kPanelRows * kPair) {}

  void run() override {
    const Index unit = kernels_.tile_columns;
    for (Index c = 0; c < shape_.in; c += unit) {
      const Index count = std::min(unit, shape_.in - c), column = c % block_;
      if (!packs_gradient_) {
        from_packed_weights(c, count, d_wide_.get() + column);
        continue;
      }
      if (column == 0) {
        pack_gradient(kernels_, {dy_.get(), shape_.out, 0, shape_.out, scale_.get()}, out_rows_, panels_.get());
      }
      packed_input_grad<float>(kernels_, trained_.layer, c, count, 0, shape_.out, panels_.get(), out_rows_,
                               d_wide_.get() + column, block_, false);
    }
  }

 private:
  void from_packed_weights(Index c, Index count, float* out) const {
    for (Index o = 0; o < shape_.out; o += kPanelRows) {
      PackArgs<float> pack{};
      pack.source_row = shape_.out, pack.scale = scale_.get() + o;
      pack.rows = std::min(kPanelRows, shape_.out - o);
      for (Index done = 0; done < count; done += kPanel) {
        pack.source = trained_.layer.params.weight + (c + done) * shape_.out + o;
        pack.panel = panels_.get() + done * kPanelRows, pack.cols = std::min(kPanel, count - done);
        kernels_.pack(pack);
      }
      GemmArgs<float> args{};
      args.a = dy_.get() + o, args.a_row = shape_.out;
      args.b = panels_.get(), args.b_panel = kPanelRows * kPanel;
      args.c = out, args.c_row = block_;
      args.rows = out_rows_, args.cols = count;
      args.sum.n1 = pack.rows, args.sum.b1 = kPanel;
      args.store = o > 0 ? Store::accumulate : Store::assign;
      kernels_.gemm(args);
    }
  }

  const Index block_;
  const bool packs_gradient_;
  Numbers dy_, d_wide_, panels_;
};

std::unique_ptr<Case> make_input_grad(const Setting& setting) {
  if (setting.layer.widens()) return make_case<ExpandInputGrad>(setting);
  return make_case<ProjectInputGrad>(setting);
}

// The rows of the update set, panel by panel of input channels.
class PointwiseWeightGrad final : public DenseCase {
 public:
  explicit PointwiseWeightGrad(const Setting& setting)
      : DenseCase(setting, true),
        block_(widens_ ? std::min(kBackwardBlock, shape_.out) : shape_.out),
        dz_(out_rows_ * block_),
        saved_(in_rows_ * trained_.layer.spec.selected) {}

  void run() override {
    const Slice<float> saved{saved_.get(), trained_.layer.spec.selected};
    for (Index first = 0; first < shape_.out; first += block_) {
      const Index width = std::min(block_, shape_.out - first);
      const OutputGrad<float> grad{dz_.get(), block_, first, width, scale_.get() + first};
      for (Index c = 0; c < shape_.in; c += kPanel) {
        trained_.layer.update_weight(kernels_, batch_, grad, saved, c, std::min(kPanel, shape_.in - c));
      }
    }
  }
  Index multiply_adds() const override { return out_rows_ * trained_.layer.spec.selected * shape_.out; }

 private:
  const Index block_;
  Numbers dz_, saved_;
};

// The first layer belongs to the frozen prefix: no mask.
class ConvForward final : public DenseCase {
 public:
  explicit ConvForward(const Setting& setting)
      : DenseCase(setting, false), shift_(shape_.out), x_(in_rows_ * shape_.in), y_(out_rows_ * shape_.out) {}

  void run() override {
    Affine<float> affine;
    affine.scale = scale_.get(), affine.shift = shift_.get();
    affine.activation = trained_.layer.spec.activation;
    conv_forward(kernels_, trained_.layer, batch_, x_.get(), y_.get(), affine);
  }

 private:
  Numbers shift_, x_, y_;
};

}  // namespace

std::vector<KernelBench> dense_benches() {
  return {
      {"pointwise_forward", "gemm with scale, shift, and where the layer widens ReLU6 and mask", &is_pointwise,
       &make_case<PointwiseForward>},
      {"pointwise_input_grad", "pack and gemm, or gemm_transposed", &is_pointwise, &make_input_grad},
      {"pointwise_weight_grad", "weight_grad: the update set's rows, applied in place", &is_pointwise,
       &make_case<PointwiseWeightGrad>},
      {"conv_forward", "any other convolution, with scale, shift, ReLU6", &is_conv, &make_case<ConvForward>},
  };
}

}  // namespace sparsebp
