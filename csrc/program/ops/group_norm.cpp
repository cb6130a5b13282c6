// Norms by an image's own statistics: GroupNorm, and LayerNorm over the channels of each pixel.
#include <algorithm>
#include <cmath>

#include "platform/parallel.h"
#include "program/ops/group_norm_buffers.h"
#include "program/ops/runs.h"

namespace sparsebp {
namespace {

template <class T>
class GroupNorm final : public GroupNormBuffers<T> {
 public:
  using GroupNormBuffers<T>::GroupNormBuffers;

  void forward(Context<T>& context) override {
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    Layer<T>& layer = this->layer(context);
    T* scale = context.workspace->template acquire<T>(this->fold_, 2 * groups_.row);
    T* shift = scale + groups_.row;
    layer.fold(*context.kernels, 0, groups_.row, scale, shift);
    T *normed = this->acquire_normed(context), *inverse = this->acquire_inverse(context);
    parallel_for(groups_.count(context.images), 4 * groups_.size(), [&](Index group) {
      const Statistics own = statistics_of(x, group, layer.spec.eps);
      if (inverse != nullptr) inverse[group] = own.inverse;
      each(group, [&](Index i, Index c) {
        const T number = (x[i] - own.mean) * own.inverse;
        if (normed != nullptr) normed[i] = number;
        y[i] = scale[c] * number + shift[c];
      });
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    Layer<T>& layer = this->layer(context);
    const auto target = this->input_grad(context, 0);
    if (target.grad != nullptr) {
      T* scale = context.training.template acquire<T>(this->scale_, groups_.row);
      layer.fold(*context.kernels, 0, groups_.row, scale, nullptr);
      const T *normed = this->normed(context), *inverse = this->inverse(context);
      parallel_for(groups_.count(context.images), 4 * groups_.size(), [&](Index group) {
        double sum = 0, product = 0;
        each(group, [&](Index i, Index c) {
          const auto g = static_cast<double>(dy[i] * scale[c]);
          sum += g, product += g * static_cast<double>(normed[i]);
        });
        const auto count = static_cast<double>(groups_.size());
        const T mean = static_cast<T>(sum / count), slope = static_cast<T>(product / count);
        each(group, [&](Index i, Index c) {
          const T g = (dy[i] * scale[c] - mean - normed[i] * slope) * inverse[group];
          put(target.grad[i], g, target.accumulate);
        });
      });
    }
    train_shift(context, layer, dy);
  }

 private:
  using GroupNormBuffers<T>::groups_;

  struct Statistics {
    T mean, inverse;
  };
  Statistics statistics_of(const T* x, Index group, double eps) const {
    double sum = 0, squares = 0;
    each(group, [&](Index i, Index) { sum += static_cast<double>(x[i]); });
    const double mean = sum / static_cast<double>(groups_.size());
    each(group, [&](Index i, Index) {
      const double away = static_cast<double>(x[i]) - mean;
      squares += away * away;
    });
    const double variance = squares / static_cast<double>(groups_.size());
    return {static_cast<T>(mean), static_cast<T>(1 / std::sqrt(variance + eps))};
  }

  // Calls `body(i, c)` for every number of a group and its channel.
  template <class Body>
  void each(Index group, const Body& body) const {
    const Index channel = groups_.channel(group);
    for (Index p = 0, first = groups_.begin(group); p < groups_.pixels; ++p, first += groups_.row) {
      for (Index c = 0; c < groups_.channels; ++c) body(first + c, channel + c);
    }
  }

  void train_shift(Context<T>& context, Layer<T>& layer, const T* dy) const {
    if (!layer.spec.trains_bias()) return;
    const Index rows = context.images * this->value_.pixels();
    parallel_for(div_up(groups_.row, kPanel), rows * kPanel, [&](Index unit) {
      const Index c = unit * kPanel;
      T sums[kPanel];
      MaskArgs<T> args{};
      args.g = const_cast<T*>(dy) + c, args.g_row = groups_.row;  // without a mask it is only read
      args.rows = rows, args.cols = std::min(kPanel, groups_.row - c);
      args.sum = sums;
      context.kernels->mask(args);
      layer.update_shift(*context.kernels, c, args.cols, sums, nullptr);
    });
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_group_norm(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<GroupNorm<T>>(op, program, declare);
}
template std::unique_ptr<Op<float>> make_group_norm<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_group_norm<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
