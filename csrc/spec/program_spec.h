// What a program is made of, as plain data: values, layers, ops. Python's planner fills it; Program executes it.
#pragma once

#include <string>
#include <vector>

#include "core/layout.h"
#include "kernels/args.h"

namespace sparsebp {

// An activation tensor, NHWC. Sizes are per image.
struct ValueSpec {
  Index height = 1, width = 1, channels = 1;
  Index count() const { return height * width * channels; }
  Index pixels() const { return height * width; }
};

// A weight with its bias, frozen batch norm and activation. A linear layer is a convolution of one pixel.
struct LayerSpec {
  std::string name;
  ConvShape shape;
  Activation activation = Activation::identity;
  bool has_bias = false;
  bool has_norm = false;
  double eps = 0;
  Index selected = 0;       // channels trained at once; 0: the weight is frozen
  bool train_bias = false;  // the convolution's bias and the batch norm's shift

  bool trains_weight() const { return selected > 0; }
  bool sampled() const { return selected > 0 && selected < shape.in; }  // else nothing is drawn
  bool trains_bias() const { return train_bias && (has_bias || has_norm); }
  bool trains() const { return trains_weight() || trains_bias(); }
};

enum class OpKind : std::uint8_t {
  conv,        // layers: 1. Any convolution but a depthwise one; linear layers too
  depthwise,   // layers: 1
  block,       // layers: (expand,) depthwise, project: an inverted residual, streamed by channel blocks
  head,        // layers: 1 pointwise, then global average pooling, streamed by channel blocks
  add,         // inputs: 2
  activation,  // an activation that no convolution could absorb
  pool,        // average pooling
  dropout,
};

// What a block keeps of its forward pass for its backward pass.
enum class Keep : std::uint8_t {
  masks,   // the activations' masks and the selected channels of each layer's input
  input,   // its input, from which these are made again, channel block by channel block
  input8,  // the same in 8 bits, where it expands
};

struct OpSpec {
  OpKind kind = OpKind::conv;
  std::vector<int> inputs;
  int output = 0;
  std::vector<int> layers;
  bool residual = false;  // block: add the input to the output
  Index block = kPanel;   // channels of one backward channel block, a multiple of kPanel
  Activation activation = Activation::identity;
  ConvShape window;           // pool
  bool count_padding = true;  // pool
  double drop = 0;            // dropout probability
  // How much the forward pass makes at once. Output rows of a convolution or a block in a stream, and of any block; 0:
  // as many as a cache holds, in a stream all.
  Index forward_rows = 0;
  // Channels that a block or a head expands, a multiple of kPanel, in a stream also of half of it; 0: a block all, a
  // head as many as a cache holds.
  Index forward_block = 0;
  Keep keep = Keep::masks;
};

// What the budget covers.
enum class Scope : std::uint8_t {
  training,  // what a step needs beyond inference
  step,      // all that a step needs but the weights; inference then has no memory of its own
};

// Ops [first, last) in front of the span that run depth first, image by image: each makes a few rows of its output when
// the next one's windows reach them, and no value between them ever exists whole. Each but the first reads what the
// one before makes, and nobody else does.
struct StreamSpec {
  int first = 0, last = 0;
};

struct ProgramSpec {
  std::vector<ValueSpec> values;
  std::vector<LayerSpec> layers;
  std::vector<OpSpec> ops;
  int input = 0, output = 0;  // values
  int span_begin = 0;         // first op that trains; ops before it run forward only
  Index batch = 1;
  bool input_grad = false;  // is the gradient of the program's input wanted
  bool momentum = false;
  bool sums = false;       // gradients are summed in the arena and applied later
  bool scores = false;     // a running gradient norm is kept per channel
  bool normalise = false;  // a running mean square is kept per parameter
  bool loss = false;       // the arena holds the gradient of the output, from which the backward pass starts
  Scope scope = Scope::training;
  bool pictures = false;  // scope step: the arena holds a micro-batch of images as bytes
  std::vector<StreamSpec> streams;
};

}  // namespace sparsebp
