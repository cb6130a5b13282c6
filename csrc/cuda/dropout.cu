// Dropout of elements, channels or whole images.
#include "cuda/dropout.cuh"
#include "cuda/ops.h"
#include "program/ops/elementwise_buffers.h"

namespace sparsebp::cuda {
namespace {

class Dropout final : public DropoutBuffers<float> {
 public:
  Dropout(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare, const Driver& driver)
      : DropoutBuffers(op, program, declare), driver_(driver) {}

  void forward(Context& context) override {
    std::uint8_t* mask = acquire_mask(context);
    const bool drops = begin_forward(context);
    const DropoutArgs args{cuda::value(context, spec.inputs[0]),
                           output(context, spec.output),
                           count(context),
                           own_units(),
                           driver_.dropout_key,
                           static_cast<std::uint64_t>(spec.output),
                           spec.drop,
                           keep_scale(),
                           drops,
                           mask,
                           units(context.images)};
    if (mask != nullptr) each(driver_.queue, &dropout_mask, (args.unit_count + 7) / 8, args);
    each(driver_.queue, &dropout, args.count, args);
  }

  void backward(Context& context) override {
    const Target target = input_grad(context, 0);
    if (target.grad == nullptr) return;
    const Index n = count(context);
    each(driver_.queue, &dropout_backward, n,
         DropoutGradArgs{gradient(context, spec.output), target.grad, n, own_units(), mask(context), backward_scale(),
                         target.accumulate});
  }

 private:
  Units own_units() const { return {spec.drop_unit, pixels_, channels_}; }
  const Driver& driver_;
};

}  // namespace

std::unique_ptr<Op<float>> make_dropout(const OpSpec& op, const ProgramSpec& program, const Declare<float>& declare,
                                        const Driver& driver) {
  return std::make_unique<Dropout>(op, program, declare, driver);
}

}  // namespace sparsebp::cuda
