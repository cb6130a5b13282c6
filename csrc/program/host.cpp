#include "program/host.h"

#include <algorithm>
#include <atomic>

#include "core/error.h"
#include "platform/parallel.h"

namespace sparsebp {
namespace {

template <class T>
class Host final : public Device<T> {
 public:
  Host(const Isa& isa, Memory& memory)
      : memory_(memory), name_(sizeof(T) == sizeof(float) ? isa.name : "scalar"), kernels_(kernels_of<T>(isa)) {}

  const char* name() const override { return name_; }
  Memory& memory() override { return memory_; }
  const Kernels<T>* kernels() const override { return &kernels_; }

  std::unique_ptr<Op<T>> make_op(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) override {
    switch (op.kind) {
      case OpKind::conv:
        return make_conv<T>(op, program, declare);
      case OpKind::depthwise:
        return make_depthwise<T>(op, program, declare);
      case OpKind::block:
        return make_block<T>(op, program, declare);
      case OpKind::head:
        return make_head<T>(op, program, declare);
      case OpKind::add:
        return make_add<T>(op, program, declare);
      case OpKind::activation:
        return make_activation<T>(op, program, declare);
      case OpKind::pool:
        return make_pool<T>(op, program, declare);
      case OpKind::dropout:
        return make_dropout<T>(op, program, declare);
      case OpKind::max_pool:
        return make_max_pool<T>(op, program, declare);
      case OpKind::adaptive_pool:
        return make_adaptive_pool<T>(op, program, declare);
      case OpKind::affine:
        return make_affine<T>(op, program, declare);
      case OpKind::multiply:
        return make_multiply<T>(op, program, declare);
      case OpKind::concat:
        return make_concat<T>(op, program, declare);
      case OpKind::channels:
        return make_channels<T>(op, program, declare);
      case OpKind::reshape:
        return make_reshape<T>(op, program, declare);
      case OpKind::resize:
        return make_resize<T>(op, program, declare);
      case OpKind::conv_transpose:
        return make_conv_transpose<T>(op, program, declare);
      case OpKind::norm:
        return make_norm<T>(op, program, declare);
      case OpKind::group_norm:
      case OpKind::layer_norm:
        return make_group_norm<T>(op, program, declare);
      case OpKind::prelu:
        return make_prelu<T>(op, program, declare);
      case OpKind::softmax:
        return make_softmax<T>(op, program, declare);
      case OpKind::zeros:
        return make_zeros<T>(op, program, declare);
      case OpKind::gated:
        return make_gated<T>(op, program, declare);
      case OpKind::channel_pool:
        return make_channel_pool<T>(op, program, declare);
      case OpKind::gather:
        return make_gather<T>(op, program, declare);
    }
    throw InvalidArgument("ops: unknown kind");
  }

  void require_finite(const T* x, Index count, bool) override {
    constexpr Index kRun = 16384;
    std::atomic<bool> finite{true};
    parallel_for(div_up(count, kRun), kRun, [&](Index i) {
      if (!kernels_.all_finite(x + i * kRun, std::min(kRun, count - i * kRun))) finite = false;
    });
    if (!finite) throw NonFinite("backward: the incoming gradient has a NaN or an infinity; nothing was updated");
  }

  void set_rules(std::vector<Layer<T>>& layers) override {
    for (Layer<T>& layer : layers) {
      const auto settle = [](Rule& rule, const MeanSquare* square) { rule.now = rule.step_before(square); };
      settle(layer.rules.weight, layer.state.square);
      settle(layer.rules.bias, layer.state.bias_square);
      settle(layer.rules.beta, layer.state.beta_square);
    }
  }

  void update_statistics(Layer<T>& layer) override { layer.update_statistics(); }
  void apply(Layer<T>& layer) override { layer.apply(kernels_); }

 private:
  Memory& memory_;
  const char* name_;
  const Kernels<T>& kernels_;
};

}  // namespace

template <class T>
std::unique_ptr<Device<T>> make_host(const Isa& isa, Memory& memory) {
  return std::make_unique<Host<T>>(isa, memory);
}
template std::unique_ptr<Device<float>> make_host<float>(const Isa&, Memory&);
template std::unique_ptr<Device<double>> make_host<double>(const Isa&, Memory&);

}  // namespace sparsebp
