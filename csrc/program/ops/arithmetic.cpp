// Sums and products of two values, of which the second may be spread over the first; one value times a number plus
// another.
#include "program/ops/elementwise_buffers.h"
#include "program/ops/runs.h"
#include "program/ops/spread.h"

namespace sparsebp {
namespace {

// The gradient of a second input that is spread, from `term(pixel, channel)`: by images and channels, each the sum over
// the places that it is there for.
template <class T, class Term>
void gather(const ValueSpec& first, const ValueSpec& second, Index images, T* grad, bool accumulate, const Term& term) {
  const Spread spread(first, second);
  const Index lines = second.channels;
  parallel_for(images * lines, first.count() / lines, [&](Index unit) {
    const Index n = unit / lines, line = unit % lines;
    T* out = grad + n * spread.image + line;
    if (!accumulate) {
      for (Index p = 0; p < second.pixels(); ++p) out[p * lines] = 0;
    }
    for (Index p = 0; p < first.pixels(); ++p) {
      const Index pixel = n * first.pixels() + p;
      T sum = 0;
      for (Index c = line; c < (lines > 1 ? line + 1 : first.channels); ++c) sum += term(pixel, c);
      grad[spread.at(pixel) + line] += sum;
    }
  });
}

template <class T>
class Add final : public Elementwise<T> {
 public:
  Add(const OpSpec& op, const ProgramSpec& program)
      : Elementwise<T>(op, program),
        first_(program.values[static_cast<std::size_t>(op.inputs[0])]),
        second_(program.values[static_cast<std::size_t>(op.inputs[1])]),
        alpha_(static_cast<T>(op.alpha)) {}

  void forward(Context<T>& context) override {
    const T *a = this->value(context, this->spec.inputs[0]), *b = this->value(context, this->spec.inputs[1]);
    T* y = this->value(context, this->spec.output);
    if (same_sides(first_, second_)) {
      parallel_runs(this->count(context), [&](Index i) { y[i] = a[i] + alpha_ * b[i]; });
      return;
    }
    const Spread spread(first_, second_);
    parallel_for(this->rows(context), this->channels_, [&](Index pixel) {
      const T* other = b + spread.at(pixel);
      const Index first = pixel * this->channels_;
      for (Index c = 0; c < this->channels_; ++c) y[first + c] = a[first + c] + alpha_ * other[c * spread.channel];
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto wanted = [&](int i) {
      return context.grads[static_cast<std::size_t>(this->spec.inputs[static_cast<std::size_t>(i)])] != nullptr;
    };
    if (wanted(0)) {
      const auto target = this->input_grad(context, 0);
      parallel_runs(this->count(context), [&](Index i) { put(target.grad[i], dy[i], target.accumulate); });
    }
    if (!wanted(1)) return;
    const auto target = this->input_grad(context, 1);
    if (same_sides(first_, second_)) {
      parallel_runs(this->count(context), [&](Index i) { put(target.grad[i], alpha_ * dy[i], target.accumulate); });
      return;
    }
    gather(first_, second_, context.images, target.grad, target.accumulate,
           [&](Index pixel, Index c) { return alpha_ * dy[pixel * this->channels_ + c]; });
  }

 private:
  const ValueSpec first_, second_;
  const T alpha_;
};

template <class T>
class Multiply final : public ProductBuffers<T> {
 public:
  Multiply(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : ProductBuffers<T>(op, program, declare), first_(program.values[static_cast<std::size_t>(op.inputs[0])]) {}

  void forward(Context<T>& context) override {
    const T *a = this->value(context, this->spec.inputs[0]), *b = this->value(context, this->spec.inputs[1]);
    T* y = this->value(context, this->spec.output);
    if (T* kept = this->acquire_first(context)) std::copy_n(a, this->count(context), kept);
    if (T* kept = this->acquire_second(context)) std::copy_n(b, context.images * this->second_.count(), kept);
    const Spread spread(first_, this->second_);
    parallel_for(this->rows(context), this->channels_, [&](Index pixel) {
      const T* other = b + spread.at(pixel);
      const Index first = pixel * this->channels_;
      for (Index c = 0; c < this->channels_; ++c) y[first + c] = a[first + c] * other[c * spread.channel];
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const Spread spread(first_, this->second_);
    if (const T* b = this->second(context)) {
      const auto target = this->input_grad(context, 0);
      parallel_for(this->rows(context), this->channels_, [&](Index pixel) {
        const T* other = b + spread.at(pixel);
        const Index first = pixel * this->channels_;
        for (Index c = 0; c < this->channels_; ++c) {
          put(target.grad[first + c], dy[first + c] * other[c * spread.channel], target.accumulate);
        }
      });
    }
    if (const T* a = this->first(context)) {
      const auto target = this->input_grad(context, 1);
      gather(first_, this->second_, context.images, target.grad, target.accumulate,
             [&](Index pixel, Index c) { return dy[pixel * this->channels_ + c] * a[pixel * this->channels_ + c]; });
    }
  }

 private:
  const ValueSpec first_;
};

template <class T>
class AffineOp final : public Elementwise<T> {
 public:
  using Elementwise<T>::Elementwise;

  void forward(Context<T>& context) override {
    const T* x = this->value(context, this->spec.inputs[0]);
    T* y = this->value(context, this->spec.output);
    parallel_runs(this->count(context), [&](Index i) { y[i] = made(x[i]); });
  }

  void forward_rows(Context<T>&, Rows<const T> x, Rows<T> y, Range out) override {
    const Index row = this->pixels_ / this->height_ * this->channels_, count = (out.end - out.begin) * row;
    const T* from = x.data + (out.begin - x.begin) * row;
    T* to = y.data + (out.begin - y.begin) * row;
    for (Index i = 0; i < count; ++i) to[i] = made(from[i]);
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const T alpha = static_cast<T>(this->spec.alpha);
    parallel_runs(this->count(context), [&](Index i) { put(target.grad[i], alpha * dy[i], target.accumulate); });
  }

 private:
  T made(T x) const { return static_cast<T>(this->spec.alpha) * x + static_cast<T>(this->spec.beta); }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_add(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<Add<T>>(op, program);
}
template <class T>
std::unique_ptr<Op<T>> make_multiply(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Multiply<T>>(op, program, declare);
}
template <class T>
std::unique_ptr<Op<T>> make_affine(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<AffineOp<T>>(op, program);
}

#define SPARSEBP_INSTANTIATE(T)                                                                           \
  template std::unique_ptr<Op<T>> make_add<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);      \
  template std::unique_ptr<Op<T>> make_multiply<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template std::unique_ptr<Op<T>> make_affine<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
