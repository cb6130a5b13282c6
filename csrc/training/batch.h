// One step on a batch with softmax cross-entropy: forward, loss, backward and update of every micro-batch.
//
// Sessions and the Python front end both train by this, whatever gave them the images.
#pragma once

#include <algorithm>

#include "core/error.h"
#include "training/loss.h"
#include "training/trainer.h"

namespace sparsebp {

// What one step came to.
struct Step {
  double loss = 0;    // mean
  Index correct = 0;  // images recognised before the update
  Index trained = 0;  // images that were not left out as learned already
};

struct BatchSettings {
  double label_smoothing = 0;
  double skip_above = 1;    // micro-batches recognised with more than this probability train nothing; 1: all train
  bool drop = true;         // do dropouts drop
  bool finish = true;       // end the step, too; without, gradient sums wait for others' before whoever calls ends it
  bool* learned = nullptr;  // if given, of each image: was it left out as learned already
};

// Throws InvalidArgument unless there is a label below `classes` for each of at least one image.
void check_labels(const std::int32_t* labels, Index images, Index classes);

// The span is run from op `first` on. `labels` are checked; the first `classes` outputs count. `logits` has room for a
// micro-batch. `input(i, count)` gives what that op reads of `count` images from number i on. If it throws, or a
// gradient is not finite, micro-batches before are applied, but with gradient sums nothing is.
template <class Input>
Step train_batch(Trainer& trainer, int first, const std::int32_t* labels, Index images, Index classes,
                 const BatchSettings& settings, float* logits, const Input& input) {
  AnyProgram& program = trainer.program();
  const ProgramSpec& spec = program.spec();
  const int ops = static_cast<int>(spec.ops.size());
  const Index outputs = spec.values[static_cast<std::size_t>(spec.output)].count();
  Step step;
  for (Index i = 0; i < images; i += spec.batch) {
    const Index count = std::min(spec.batch, images - i);
    const double share = static_cast<double>(count) / static_cast<double>(images);
    try {
      trainer.forward(first, ops, input(i, count), logits, count, settings.drop);
      const auto gradient = static_cast<float*>(program.loss_gradient());
      const Loss loss = cross_entropy(logits, labels + i, count, classes, outputs, settings.label_smoothing,
                                      settings.skip_above, spec.sums ? share : 1.0, gradient);
      step.loss += loss.mean * share;
      step.correct += loss.correct;
      const bool learned = settings.skip_above < 1 && loss.confident;
      if (settings.learned != nullptr) std::fill_n(settings.learned + i, count, learned);
      if (learned) {
        trainer.discard();
        continue;
      }
      trainer.backward(gradient, nullptr, spec.sums ? 1.0 : share);
    } catch (...) {
      trainer.discard();
      trainer.cancel_step();
      throw;
    }
    step.trained += count;
  }
  if (settings.finish) trainer.finish_step();
  return step;
}

}  // namespace sparsebp
