// Learning from pictures without anybody's help: a program, its recipe, and how far training is (trainer.h).
//
// A session owns no weights and reads no files: who opens it binds the weights and keeps them. It runs what the
// autograd front end runs, in the same order, so that both give the same bits.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "platform/memory.h"
#include "program/program.h"
#include "training/batch.h"
#include "training/recipe.h"

namespace sparsebp {

// Images, given in one way: [n][height][width][channels] as numbers that the network reads, or as bytes that a table
// turns into them; or [n][feature_count] as what the frozen prefix made of them.
struct Images {
  const float* numbers = nullptr;
  const std::uint8_t* bytes = nullptr;
  const float* features = nullptr;
  RowReader reader = nullptr;  // gives bytes row by row, where the budget covers the whole step
  void* reader_context = nullptr;
};

class Session {
 public:
  // Lays the program out. `table` holds what each byte of each channel becomes, [channels][256], or is empty. Of the
  // outputs the first `classes` are classes, the others spare; without a number all are.
  Session(ProgramSpec spec, Recipe recipe, std::vector<float> table, std::optional<Index> classes = std::nullopt,
          std::string isa = "");

  const ProgramSpec& spec() const { return program_->spec(); }
  const Recipe& recipe() const { return recipe_; }
  const AnyProgram& program() const { return *program_; }
  Index outputs() const { return output_; }
  Index classes() const { return classes_; }      // the first outputs; the others are spare
  int classifier() const { return classifier_; }  // the layer that makes the outputs; -1 if there is none
  Index pixels() const { return input_; }         // numbers of one image
  // Numbers that the frozen prefix makes of an image; without one, pixels().
  Index feature_count() const { return features_; }

  // Bytes of the arena, which is all of training, and of what inference needs beside it: none where the budget covers
  // the whole step.
  std::size_t arena_bytes() const;
  std::size_t workspace_bytes() const;

  // What `attach` wants of a block of the caller's, with an arena of `budget` bytes.
  std::size_t attach_bytes(std::size_t budget) const { return align_up(budget) + workspace_bytes() + kAlignment; }

  // Takes memory, the session's own or the caller's. The arena has exactly `budget` bytes. Then the first channels are
  // drawn. Nothing is allocated from here on.
  void attach(std::size_t budget, void* block = nullptr, std::size_t bytes = 0);
  void bind(int layer, const RawParams& params) { program_->bind(layer, params); }

  // The next spare output becomes a class, whose weights are zero. Throws InvalidArgument if none is left.
  void add_class();

  // The update sets of this turn train from now on, whatever number of steps, until the next call. Throws
  // InvalidArgument where draws are no function of seed and turn.
  void hold(std::uint64_t turn);

  // One step on n images, which go through in micro-batches of spec().batch. `labels` lie below classes(). Features
  // train what their images would have, unless dropout lies in the frozen prefix.
  Step train(const Images& images, const std::int32_t* labels, Index n);
  // Logits [n][classes], as in evaluation.
  void predict(const Images& images, Index n, float* logits);
  // Loss and images recognised, as in evaluation.
  Step evaluate(const Images& images, const std::int32_t* labels, Index n);
  // What the frozen prefix makes of images, as in evaluation: [n][feature_count].
  void features(const Images& images, Index n, float* out);

  // All rates are multiplied by this, beside the schedule.
  void set_rate(double factor);
  double rate() const { return rate_; }

  const Progress& progress() const { return trainer_->progress(); }
  void set_progress(const Progress& progress) { trainer_->set_progress(progress); }
  // Share of the weights of trained convolutions that have been visited.
  double coverage() const { return trainer_->coverage(); }
  AnyProgram& attached();
  // Where the arena holds the bytes of a micro-batch of images, until the next pass: pixels() of each. Null if the plan
  // has no place for them.
  std::uint8_t* pictures() { return attached().pictures(); }

 private:
  void require_attached() const;
  void check(const Images& images, Index n) const;
  int entry(const Images& images) const { return images.features != nullptr ? end_of_prefix_ : 0; }
  int ops() const { return static_cast<int>(spec().ops.size()); }
  bool whole_step() const { return spec().scope == Scope::step; }
  // What op entry(images) reads of `count` images from number `first` on.
  PassInput read(const Images& images, Index first, Index count);
  void to_numbers(const std::uint8_t* bytes, Index count, float* out) const;
  void set_rules(Index of);

  const Recipe recipe_;
  const std::vector<float> table_;
  const std::string isa_;
  std::unique_ptr<GivenMemory> given_;
  std::unique_ptr<AnyProgram> program_;
  std::unique_ptr<Trainer> trainer_;
  std::vector<float> own_input_, own_logits_;
  float *numbers_ = nullptr, *logits_ = nullptr;
  int end_of_prefix_ = 0, classifier_ = -1;
  Index input_ = 0, features_ = 0, output_ = 0;  // numbers of one image
  Index classes_ = 0;
  double rate_ = 1;
  bool attached_ = false;
};

}  // namespace sparsebp
