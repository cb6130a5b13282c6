// An activation on its own: one that a layer's kernels know, one that they do not, a softmax, one with a slope a
// channel.
#include "program/layer.h"
#include "program/ops/elementwise_buffers.h"
#include "program/ops/runs.h"

namespace sparsebp {
namespace {

// ReLU, ReLU6, or nothing.
template <class T>
class Clamp final : public ActivationBuffers<T> {
 public:
  using ActivationBuffers<T>::ActivationBuffers;

  void forward(Context<T>& context) override {
    ActivationArgs<T> args{};
    const Index mask_row = mask_row_bytes(this->channels_);
    const T* x = this->value(context, this->spec.inputs[0]);
    T* y = this->value(context, this->spec.output);
    std::uint8_t* mask = this->acquire_mask(context);
    args.row = this->channels_, args.rows = 1, args.cols = this->channels_;
    args.activation = this->spec.activation, args.mask_row = mask_row;
    parallel_for(this->rows(context), this->channels_, [&](Index row) {
      ActivationArgs<T> part = args;
      part.x = x + row * args.row, part.y = y + row * args.row;
      part.mask = mask != nullptr ? mask + row * mask_row : nullptr;
      context.kernels->activation_forward(part);
    });
  }

  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override {
    const Index row = this->pixels_ / this->height_ * this->channels_;
    ActivationArgs<T> args{};
    args.x = x.data + (out.begin - x.begin) * row, args.y = y.data + (out.begin - y.begin) * row;
    args.row = args.cols = row, args.rows = out.end - out.begin;
    args.activation = this->spec.activation;
    context.kernels->activation_forward(args);
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const std::uint8_t* mask = this->mask(context);
    const Index mask_row = mask_row_bytes(this->channels_);
    parallel_for(this->rows(context), this->channels_, [&](Index row) {
      for (Index c = 0; c < this->channels_; ++c) {
        const bool passes = mask == nullptr || (mask[row * mask_row + c / 8] >> (c % 8) & 1) != 0;
        const T g = passes ? dy[row * this->channels_ + c] : T(0);
        put(target.grad[row * this->channels_ + c], g, target.accumulate);
      }
    });
  }
};

template <class T>
class CurveOp final : public ActivationBuffers<T> {
 public:
  using ActivationBuffers<T>::ActivationBuffers;

  void forward(Context<T>& context) override {
    const T* x = this->value(context, this->spec.inputs[0]);
    T* y = this->value(context, this->spec.output);
    std::uint8_t* kept = this->acquire_mask(context);
    T* input = this->acquire_input(context);
    parallel_spans(this->count(context), kWork, [&](Index first, Index count) {
      if (input != nullptr) std::copy_n(x + first, count, input + first);
      std::uint8_t* place = kept != nullptr ? kept + first / 8 * this->bits() : nullptr;
      context.kernels->curve_forward(args(x + first, y + first, count, place));
    });
  }

  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override {
    const Index row = this->pixels_ / this->height_ * this->channels_;
    context.kernels->curve_forward(args(x.data + (out.begin - x.begin) * row, y.data + (out.begin - y.begin) * row,
                                        (out.end - out.begin) * row, nullptr));
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const std::uint8_t* kept = this->mask(context);
    const T* x = this->input(context);
    parallel_spans(this->count(context), kWork, [&](Index first, Index count) {
      CurveGradArgs<T> grad{};
      grad.activation = this->spec.activation;
      grad.alpha = static_cast<T>(this->spec.alpha), grad.beta = static_cast<T>(this->spec.beta);
      grad.x = x != nullptr ? x + first : nullptr;
      grad.kept = kept != nullptr ? kept + first / 8 * this->bits() : nullptr, grad.bits = this->bits();
      grad.dy = dy + first, grad.dx = target.grad + first, grad.accumulate = target.accumulate, grad.count = count;
      context.kernels->curve_backward(grad);
    });
  }

 private:
  static constexpr Index kWork = 16;  // about as much as so many multiply-adds an element

  CurveArgs<T> args(const T* x, T* y, Index count, std::uint8_t* kept) const {
    const auto alpha = static_cast<T>(this->spec.alpha), beta = static_cast<T>(this->spec.beta);
    return {this->spec.activation, alpha, beta, x, y, count, kept, this->bits()};
  }
};

template <class T>
class Prelu final : public PreluBuffers<T> {
 public:
  using PreluBuffers<T>::PreluBuffers;

  void forward(Context<T>& context) override {
    const T* x = this->value(context, this->spec.inputs[0]);
    T* y = this->value(context, this->spec.output);
    const T* slopes = begin_forward(context);
    const Index mask_row = mask_row_bytes(this->channels_);
    std::uint8_t* mask = this->acquire_mask(context);
    parallel_for(this->rows(context), this->channels_, [&](Index row) {
      const T* from = x + row * this->channels_;
      if (mask != nullptr) std::fill_n(mask + row * mask_row, mask_row, std::uint8_t{0});
      for (Index c = 0; c < this->channels_ && mask != nullptr; ++c) {
        const unsigned bit = from[c] > 0 ? 1u : 0u;
        mask[row * mask_row + c / 8] = static_cast<std::uint8_t>(mask[row * mask_row + c / 8] | bit << (c % 8));
      }
      bend(from, y + row * this->channels_, slopes, 1);
    });
    context.workspace->release(this->slopes_);
  }

  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override {
    const Index width = this->pixels_ / this->height_, row = width * this->channels_;
    const T* slopes = begin_forward(context);
    bend(x.data + (out.begin - x.begin) * row, y.data + (out.begin - y.begin) * row, slopes,
         (out.end - out.begin) * width);
    context.workspace->release(this->slopes_);
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    T* slopes = context.training.template acquire<T>(this->backward_slopes_, this->channels_);
    layer(context).fold(*context.kernels, 0, this->channels_, slopes, nullptr);
    const std::uint8_t* mask = this->mask(context);
    const Index mask_row = mask_row_bytes(this->channels_);
    parallel_for(this->rows(context), this->channels_, [&](Index row) {
      for (Index c = 0; c < this->channels_; ++c) {
        const bool passes = (mask[row * mask_row + c / 8] >> (c % 8) & 1) != 0;
        const T g = dy[row * this->channels_ + c];
        put(target.grad[row * this->channels_ + c], passes ? g : g * slopes[c], target.accumulate);
      }
    });
  }

 private:
  Layer<T>& layer(Context<T>& context) const { return context.layers[static_cast<std::size_t>(this->layer_)]; }
  const T* begin_forward(Context<T>& context) const {
    T* slopes = context.workspace->template acquire<T>(this->slopes_, this->channels_);
    layer(context).fold(*context.kernels, 0, this->channels_, slopes, nullptr);
    return slopes;
  }
  void bend(const T* x, T* y, const T* slopes, Index pixels) const {
    for (Index m = 0; m < pixels; ++m, x += this->channels_, y += this->channels_) {
      for (Index c = 0; c < this->channels_; ++c) y[c] = x[c] > 0 ? x[c] : slopes[c] * x[c];
    }
  }
};

template <class T>
class Softmax final : public SoftmaxBuffers<T> {
 public:
  using SoftmaxBuffers<T>::SoftmaxBuffers;

  void forward(Context<T>& context) override {
    const T* x = this->value(context, this->spec.inputs[0]);
    T* y = this->value(context, this->spec.output);
    T* result = this->acquire_result(context);
    const Index n = this->channels_;
    parallel_for(this->rows(context), 16 * n, [&](Index row) {
      const T *from = x + row * n, *end = from + n;
      T* to = y + row * n;
      const T most = *std::max_element(from, end);
      T sum = 0;
      for (Index c = 0; c < n; ++c) sum += to[c] = std::exp(from[c] - most);
      for (Index c = 0; c < n; ++c) to[c] /= sum;
      if (result != nullptr) std::copy_n(to, n, result + row * n);
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const T* result = this->result(context);
    const Index n = this->channels_;
    parallel_for(this->rows(context), 4 * n, [&](Index row) {
      const T *y = result + row * n, *g = dy + row * n;
      T sum = 0;
      for (Index c = 0; c < n; ++c) sum += y[c] * g[c];
      for (Index c = 0; c < n; ++c) put(target.grad[row * n + c], y[c] * (g[c] - sum), target.accumulate);
    });
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_activation(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  if (is_layers(op.activation)) return std::make_unique<Clamp<T>>(op, program, declare);
  return std::make_unique<CurveOp<T>>(op, program, declare);
}
template <class T>
std::unique_ptr<Op<T>> make_prelu(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Prelu<T>>(op, program, declare);
}
template <class T>
std::unique_ptr<Op<T>> make_softmax(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Softmax<T>>(op, program, declare);
}

#define SPARSEBP_INSTANTIATE(T)                                                                             \
  template std::unique_ptr<Op<T>> make_activation<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template std::unique_ptr<Op<T>> make_prelu<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);      \
  template std::unique_ptr<Op<T>> make_softmax<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
