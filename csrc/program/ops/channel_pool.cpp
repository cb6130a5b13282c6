// One number of each pixel: the mean or the largest of its channels.
#include "program/ops/channel_pool_buffers.h"
#include "program/ops/runs.h"

namespace sparsebp {
namespace {

template <class T>
class ChannelPool final : public ChannelPoolBuffers<T> {
 public:
  using ChannelPoolBuffers<T>::ChannelPoolBuffers;

  void forward(Context<T>& context) override {
    const T* x = this->value(context, this->spec.inputs[0]);
    T* y = this->value(context, this->spec.output);
    std::uint8_t* mask = this->acquire_mask(context);
    const Index n = this->in_, mask_row = mask_row_bytes(n);
    parallel_for(this->rows(context), n, [&](Index pixel) {
      const T* from = x + pixel * n;
      if (this->spec.reduction == Reduction::mean) {
        T sum = 0;
        for (Index c = 0; c < n; ++c) sum += from[c];
        y[pixel] = sum / static_cast<T>(n);
        return;
      }
      const Index largest = first_largest(from);
      y[pixel] = from[largest];
      if (mask != nullptr) choose(from, largest, mask + pixel * mask_row);
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const std::uint8_t* mask = this->mask(context);
    const Index n = this->in_, mask_row = mask_row_bytes(n);
    parallel_for(this->rows(context), n, [&](Index pixel) {
      const std::uint8_t* bits = mask != nullptr ? mask + pixel * mask_row : nullptr;
      const auto chosen = [&](Index c) { return bits == nullptr || (bits[c / 8] >> (c % 8) & 1) != 0; };
      Index count = 0;
      for (Index c = 0; c < n; ++c) count += chosen(c) ? 1 : 0;
      const T share = dy[pixel] / static_cast<T>(count);
      for (Index c = 0; c < n; ++c) put(target.grad[pixel * n + c], chosen(c) ? share : T(0), target.accumulate);
    });
  }

 private:
  // A NaN is larger than all, as in torch.
  Index first_largest(const T* x) const {
    Index largest = 0;
    for (Index c = 1; c < this->in_ && x[largest] == x[largest]; ++c) {
      if (x[c] > x[largest] || x[c] != x[c]) largest = c;
    }
    return largest;
  }

  void choose(const T* x, Index largest, std::uint8_t* mask) const {
    std::fill_n(mask, mask_row_bytes(this->in_), std::uint8_t{0});
    const bool all = this->spec.reduction == Reduction::all_largest;
    for (Index c = 0; c < this->in_; ++c) {
      const unsigned bit = c == largest || (all && x[c] == x[largest]) ? 1u : 0u;
      mask[c / 8] = static_cast<std::uint8_t>(mask[c / 8] | bit << (c % 8));
    }
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_channel_pool(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<ChannelPool<T>>(op, program, declare);
}
#define SPARSEBP_INSTANTIATE(T) \
  template std::unique_ptr<Op<T>> make_channel_pool<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
