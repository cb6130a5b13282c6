// An image in other sides, by its nearest pixels or between four of them.
#include <algorithm>

#include "platform/parallel.h"
#include "program/ops/other_sides.h"
#include "program/resampling.h"

namespace sparsebp {
namespace {

template <class T>
class Resize final : public OtherSides<T> {
 public:
  using OtherSides<T>::OtherSides;

  void forward(Context<T>& context) override {
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const Index channels = in_.channels;
    parallel_for(context.images * out_.height, 4 * out_.width * channels, [&](Index unit) {
      const T* image = x + unit / out_.height * in_.count();
      const auto rows = rows_of(unit % out_.height);
      for (Index column = 0; column < out_.width; ++column) {
        T* out = y + (unit * out_.width + column) * channels;
        each(rows, columns_of(column), [&](Index pixel, T weight, bool first) {
          const T* from = image + pixel * channels;
          for (Index c = 0; c < channels; ++c) out[c] = first ? weight * from[c] : out[c] + weight * from[c];
        });
      }
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const Index channels = in_.channels;
    parallel_for(context.images, 4 * out_.count(), [&](Index n) {
      T* image = target.grad + n * in_.count();
      if (!target.accumulate) std::fill_n(image, in_.count(), T(0));
      for (Index row = 0; row < out_.height; ++row) {
        const auto rows = rows_of(row);
        for (Index column = 0; column < out_.width; ++column) {
          const T* g = dy + ((n * out_.height + row) * out_.width + column) * channels;
          each(rows, columns_of(column), [&](Index pixel, T weight, bool) {
            T* to = image + pixel * channels;
            for (Index c = 0; c < channels; ++c) to[c] += weight * g[c];
          });
        }
      }
    });
  }

 private:
  Neighbours<T> rows_of(Index row) const {
    return neighbours_of<T>(this->spec.resampling, row, out_.height, in_.height, this->spec.scale_h);
  }
  Neighbours<T> columns_of(Index column) const {
    return neighbours_of<T>(this->spec.resampling, column, out_.width, in_.width, this->spec.scale_w);
  }
  // The input pixels that an output pixel is made of, those that do not count left out.
  template <class Body>
  void each(const Neighbours<T>& rows, const Neighbours<T>& columns, const Body& body) const {
    const auto pixel = [&](Index row, Index column) { return row * in_.width + column; };
    const T below = rows.share, right = columns.share;
    body(pixel(rows.first, columns.first), (1 - below) * (1 - right), true);
    if (right != 0) body(pixel(rows.first, columns.second), (1 - below) * right, false);
    if (below != 0) body(pixel(rows.second, columns.first), below * (1 - right), false);
    if (below != 0 && right != 0) body(pixel(rows.second, columns.second), below * right, false);
  }

  using OtherSides<T>::in_, OtherSides<T>::out_;
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_resize(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<Resize<T>>(op, program);
}
template std::unique_ptr<Op<float>> make_resize<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_resize<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
