// Dropout.
#include "core/random.h"
#include "program/ops/elementwise_buffers.h"
#include "program/ops/runs.h"

namespace sparsebp {
namespace {

template <class T>
class Dropout final : public DropoutBuffers<T> {
 public:
  using DropoutBuffers<T>::DropoutBuffers;

  // The mask is a pure function of the step's key and the unit, packed for the backward pass.
  void forward(Context<T>& context) override {
    const T* x = this->value(context, this->spec.inputs[0]);
    T* y = this->value(context, this->spec.output);
    std::uint8_t* mask = this->acquire_mask(context);
    const bool drop = this->begin_forward(context);
    const T scale = this->keep_scale();
    const std::uint64_t key = mix64(context.dropout_key ^ static_cast<std::uint64_t>(this->spec.output));
    const auto keeps = [&](Index unit) {
      return !drop || random_unit(key, static_cast<std::uint64_t>(unit)) >= this->spec.drop;
    };
    if (mask != nullptr) {
      const Index units = this->units(context.images);
      parallel_for(div_up(units, 8), 64, [&](Index byte) {
        unsigned bits = 0;
        for (Index i = byte * 8; i < std::min(units, byte * 8 + 8); ++i) {
          bits |= static_cast<unsigned>(keeps(i)) << (i % 8);
        }
        mask[byte] = static_cast<std::uint8_t>(bits);
      });
    }
    parallel_spans(this->count(context), 8, [&](Index first, Index count) {
      for (Index i = first; i < first + count; ++i) {
        const Index unit = this->unit_of(i);
        const bool kept = mask != nullptr ? (mask[unit / 8] >> (unit % 8) & 1) != 0 : keeps(unit);
        y[i] = !kept ? T(0) : drop ? x[i] * scale : x[i];
      }
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const std::uint8_t* mask = this->mask(context);
    const T scale = this->backward_scale();
    parallel_runs(this->count(context), [&](Index i) {
      const Index unit = this->unit_of(i);
      const T g = (mask[unit / 8] >> (unit % 8) & 1) != 0 ? dy[i] * scale : T(0);
      put(target.grad[i], g, target.accumulate);
    });
  }
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_dropout(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare) {
  return std::make_unique<Dropout<T>>(op, program, declare);
}
template std::unique_ptr<Op<float>> make_dropout<float>(const OpSpec&, const ProgramSpec&, const Declare<float>&);
template std::unique_ptr<Op<double>> make_dropout<double>(const OpSpec&, const ProgramSpec&, const Declare<double>&);

}  // namespace sparsebp
