// Ops without weights that work element by element: residual add, a lone activation, dropout.
#include <algorithm>

#include "core/random.h"
#include "platform/parallel.h"
#include "program/ops/elementwise_buffers.h"

namespace sparsebp {
namespace {

constexpr Index kRun = 4096;  // elements of one unit

template <class Body>
void parallel_runs(Index count, const Body& body) {
  parallel_for(div_up(count, kRun), kRun, [&](Index unit) {
    const Index end = std::min(count, (unit + 1) * kRun);
    for (Index i = unit * kRun; i < end; ++i) body(i);
  });
}

template <class T>
void pass(const T* dy, Index count, T* dx, bool accumulate) {
  parallel_runs(count, [&](Index i) { dx[i] = accumulate ? dx[i] + dy[i] : dy[i]; });
}

template <class T>
class Add final : public Elementwise<T> {
 public:
  using Elementwise<T>::Elementwise;

  void forward(Context<T>& context) override {
    const T *a = this->value(context, this->spec.inputs[0]), *b = this->value(context, this->spec.inputs[1]);
    T* y = this->value(context, this->spec.output);
    parallel_runs(this->count(context), [&](Index i) { y[i] = a[i] + b[i]; });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    for (int i = 0; i < 2; ++i) {
      if (context.grads[static_cast<std::size_t>(this->spec.inputs[static_cast<std::size_t>(i)])] == nullptr) continue;
      const auto target = this->input_grad(context, i);
      pass(dy, this->count(context), target.grad, target.accumulate);
    }
  }
};

template <class T>
class ActivationOp final : public ActivationBuffers<T> {
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
        T& out = target.grad[row * this->channels_ + c];
        out = target.accumulate ? out + g : g;
      }
    });
  }
};

template <class T>
class Dropout final : public DropoutBuffers<T> {
 public:
  using DropoutBuffers<T>::DropoutBuffers;

  // The mask is a pure function of the step's key and the element, packed for the backward pass.
  void forward(Context<T>& context) override {
    const T* x = this->value(context, this->spec.inputs[0]);
    T* y = this->value(context, this->spec.output);
    const Index count = this->count(context);
    std::uint8_t* mask = this->acquire_mask(context);
    const bool drop = this->begin_forward(context);
    const T scale = this->keep_scale();
    const std::uint64_t key = mix64(context.dropout_key ^ static_cast<std::uint64_t>(this->spec.output));
    parallel_for(div_up(count, 8), 64, [&](Index byte) {
      unsigned bits = 0;
      for (Index i = byte * 8; i < std::min(count, byte * 8 + 8); ++i) {
        const bool keep = !drop || random_unit(key, static_cast<std::uint64_t>(i)) >= this->spec.drop;
        y[i] = !keep ? T(0) : drop ? x[i] * scale : x[i];
        bits |= static_cast<unsigned>(keep) << (i % 8);
      }
      if (mask != nullptr) mask[byte] = static_cast<std::uint8_t>(bits);
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const std::uint8_t* mask = this->mask(context);
    const T scale = this->backward_scale();
    parallel_runs(this->count(context), [&](Index i) {
      const T g = (mask[i / 8] >> (i % 8) & 1) != 0 ? dy[i] * scale : T(0);
      target.grad[i] = target.accumulate ? target.grad[i] + g : g;
    });
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_add(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<Add<T>>(op, program);
}
template <class T>
std::unique_ptr<Op<T>> make_activation(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<ActivationOp<T>>(op, program, declare);
}
template <class T>
std::unique_ptr<Op<T>> make_dropout(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Dropout<T>>(op, program, declare);
}

#define SPARSEBP_INSTANTIATE(T)                                                                             \
  template std::unique_ptr<Op<T>> make_add<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);        \
  template std::unique_ptr<Op<T>> make_activation<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template std::unique_ptr<Op<T>> make_dropout<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
