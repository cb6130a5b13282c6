// Average pooling in windows, and in parts as equal as can be.
#include <algorithm>

#include "platform/parallel.h"
#include "program/ops/other_sides.h"
#include "program/ops/runs.h"
#include "program/parts.h"

namespace sparsebp {
namespace {

template <class T>
class Pool final : public Op<T> {
 public:
  explicit Pool(const OpSpec& op) : Op<T>(op) {}

  void forward(Context<T>& context) override {
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const ConvShape& s = this->spec.window;
    parallel_for(context.images, s.out_pixels() * s.taps() * s.in, [&](Index n) {
      forward_rows(context, {x + n * s.pixels() * s.in, 0}, {y + n * s.out_pixels() * s.in, 0}, {0, s.out_height});
    });
  }

  void forward_rows(Context<T>& context, Rows<const T> x, Rows<T> y, Range out) override {
    PoolArgs<T> args{};
    args.shape = this->spec.window;
    args.x = x.data, args.x_begin = x.begin;
    args.y = y.data, args.y_begin = y.begin;
    args.count_padding = this->spec.count_padding;
    args.row_begin = out.begin, args.row_end = out.end;
    context.kernels->pool_forward(args);
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const ConvShape& s = this->spec.window;
    parallel_for(context.images, s.out_pixels() * s.taps() * s.in, [&](Index n) {
      PoolArgs<T> args{};
      args.shape = s;
      args.x = dy + n * s.out_pixels() * s.in, args.y = target.grad + n * s.pixels() * s.in;
      args.count_padding = this->spec.count_padding, args.accumulate = target.accumulate;
      context.kernels->pool_backward(args);
    });
  }
};

template <class T>
class AdaptivePool final : public OtherSides<T> {
 public:
  using OtherSides<T>::OtherSides;

  void forward(Context<T>& context) override {
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const Index channels = in_.channels;
    parallel_for(context.images * out_.pixels(), in_.count() / out_.pixels() + channels, [&](Index unit) {
      const Range rows = rows_of(unit), columns = columns_of(unit);
      const T* image = x + unit / out_.pixels() * in_.count();
      T* out = y + unit * channels;
      std::fill_n(out, channels, T(0));
      for (Index row = rows.begin; row < rows.end; ++row) {
        for (Index column = columns.begin; column < columns.end; ++column) {
          const T* pixel = image + (row * in_.width + column) * channels;
          for (Index c = 0; c < channels; ++c) out[c] += pixel[c];
        }
      }
      for (Index c = 0; c < channels; ++c) out[c] /= static_cast<T>(size(rows, columns));
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const Index channels = in_.channels;
    parallel_for(context.images, in_.count() + out_.count(), [&](Index n) {
      T* image = target.grad + n * in_.count();
      if (!target.accumulate) std::fill_n(image, in_.count(), T(0));
      for (Index unit = n * out_.pixels(); unit < (n + 1) * out_.pixels(); ++unit) {
        const Range rows = rows_of(unit), columns = columns_of(unit);
        const T weight = T(1) / static_cast<T>(size(rows, columns));
        for (Index row = rows.begin; row < rows.end; ++row) {
          for (Index column = columns.begin; column < columns.end; ++column) {
            T* pixel = image + (row * in_.width + column) * channels;
            for (Index c = 0; c < channels; ++c) pixel[c] += dy[unit * channels + c] * weight;
          }
        }
      }
    });
  }

 private:
  // Of output pixel `unit`, counted over all images.
  Range rows_of(Index unit) const { return part_of(unit / out_.width % out_.height, out_.height, in_.height); }
  Range columns_of(Index unit) const { return part_of(unit % out_.width, out_.width, in_.width); }
  static Index size(Range rows, Range columns) { return (rows.end - rows.begin) * (columns.end - columns.begin); }

  using OtherSides<T>::in_, OtherSides<T>::out_;
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_pool(const OpSpec& op, const ProgramSpec&, const Declare<T>&) {
  return std::make_unique<Pool<T>>(op);
}
template <class T>
std::unique_ptr<Op<T>> make_adaptive_pool(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<AdaptivePool<T>>(op, program);
}

#define SPARSEBP_INSTANTIATE(T)                                                                       \
  template std::unique_ptr<Op<T>> make_pool<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template std::unique_ptr<Op<T>> make_adaptive_pool<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
