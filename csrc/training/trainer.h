// How far the training of a program is, and what follows: which update sets and dropouts are drawn, by what rules a
// pass trains, when a step ends.
//
// The program does the passes; whoever has the batches and the loss calls. A session is one such caller, the autograd
// front end another: both give the same bits because this is where both count.
#pragma once

#include <functional>
#include <vector>

#include "program/program.h"
#include "training/draws.h"

namespace sparsebp {

// Together with the program's persistent regions all that training needs to go on.
struct Progress {
  std::uint64_t batches = 0;   // whose step was finished, though all of it may have been left out
  std::uint64_t steps = 0;     // of which something trained
  std::uint64_t turn = 0;      // of the draws
  std::uint64_t forwards = 0;  // passes that may drop values: the dropouts' key
  bool due = false;            // is a draw due before the next training pass
  bool pending = false;        // has a backward pass trained since the last step
};

// Draws every layer's update set of turn `turn` by a policy of the caller's.
using DrawFunction = std::function<void(std::uint64_t turn)>;

class Trainer {
 public:
  // Throws InvalidArgument if the program keeps no scores to draw by. Nothing trains until there are rules.
  Trainer(AnyProgram& program, const Draws& draws, DrawFunction draw = nullptr);

  AnyProgram& program() { return program_; }
  const Draws& draws() const { return draws_; }
  void set_draws(const Draws& draws);
  const Progress& progress() const { return progress_; }
  void set_progress(const Progress& progress) { progress_ = progress; }
  // How many machines share the passes of a step: theirs alternate, so that each drops other values, and one machine
  // that does them all in turn the same. 1 for a machine alone.
  std::uint64_t stride() const { return stride_; }
  void set_stride(std::uint64_t stride) { stride_ = stride; }

  // By layer, for a whole step.
  std::vector<LayerRule>& rules() { return rules_; }

  // Draws the update sets of this turn.
  void draw();
  // Draws those of another turn, which then stay until the next call, whatever number of steps they train. Throws
  // InvalidArgument where a draw also depends on what was trained.
  void hold(std::uint64_t turn);

  // A training pass, with the update sets whose turn it is: they stay until their update is done, however many forward
  // passes that takes, of which each drops other values.
  void forward(int first, int last, const PassInput& in, void* out, Index images, bool drop);
  // Saves nothing, and changes nothing but what is dropped next.
  void infer(int first, int last, const PassInput& in, void* out, Index images, bool drop);
  // Trains or, in a program with gradient sums, adds to them. `share` is that of this pass in what one step moves.
  void backward(const void* dy, void* dx, double share, bool keep = false);
  // Before and after a GPU's graph of a training pass is replayed.
  void prepare_replay(double share);
  void replayed();

  // Ends a step: gradient sums are applied, and the next draw may be due. Without a backward pass since the last step
  // there is nothing to end.
  void finish_step(double share = 1);
  // Forgets a forward pass whose backward pass will not come.
  void discard() { program_.discard(); }
  // There will be no step of the backward passes so far: gradient sums are forgotten.
  void cancel_step();

  // Share of the weights of trained convolutions that have been visited.
  double coverage() const;

 private:
  void draw_if_due();
  std::uint64_t dropout_key() const;
  const std::vector<LayerRule>& rules_for(double share);

  AnyProgram& program_;
  Draws draws_;
  const DrawFunction draw_;
  Progress progress_;
  std::uint64_t stride_ = 1;
  bool held_ = false;
  std::vector<LayerRule> rules_, shared_rules_;
};

}  // namespace sparsebp
