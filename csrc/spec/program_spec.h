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

// What the parameters of a layer do.
enum class LayerKind : std::uint8_t {
  convolution,  // linear layers too
  transposed,   // a transposed convolution: height and width are those of what it reads, out_height and out_width
                // those of what it makes; weights are [kernel_h][kernel_w][in][out / groups]
  channelwise,  // no weight: a scale and a shift per channel, and frozen statistics if `has_norm`
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
  LayerKind kind = LayerKind::convolution;
  bool shared = false;  // channelwise: scale and shift have one number for all channels; they do not train

  bool has_weight() const { return kind != LayerKind::channelwise; }
  bool has_scale() const { return has_norm || !has_weight(); }
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
  add,         // inputs: 2. The first and `alpha` times the second, of the same sides or of one pixel, one channel
  activation,  // an activation that no convolution could absorb
  pool,        // average pooling
  dropout,
  max_pool,
  adaptive_pool,   // average pooling to any number of pixels, in windows as equal as can be
  affine,          // alpha x + beta
  multiply,        // inputs: 2, as those of `add`
  concat,          // inputs: any number, one behind the other by channels
  channels,        // output channel j is input channel `map[j]`
  reshape,         // the numbers of an image as they come channel by channel, in other sides
  resize,          // `resampling` to other sides
  conv_transpose,  // layers: 1 transposed
  norm,            // layers: 1 channelwise: a batch norm, or a scale and a shift, on its own
  group_norm,      // layers: 1 channelwise: every image and each of `groups` of its channels by its own statistics
  layer_norm,      // layers: 1 channelwise: every pixel by the statistics of its channels
  prelu,           // layers: 1 channelwise: scale times x where x is negative
  softmax,         // over the channels of each pixel
  zeros,           // `top` rows and `left` columns of zeros in front of an image, and those behind that make its sides
  gated,           // layers: (expand,) depthwise, (reduce, restore,) project: an inverted residual of any activations,
                   // with a gate per channel, which two layers make of the filtered tensor's means. Keeps its input
  gather,          // output number j of an image is input number `map[j]`, as both lie in memory
  channel_pool,    // one number a pixel: the `reduction` of its channels
};
constexpr int kOpKinds = static_cast<int>(OpKind::channel_pool) + 1;

// What a block keeps of its forward pass for its backward pass.
enum class Keep : std::uint8_t {
  masks,   // the activations' masks and the selected channels of each layer's input
  input,   // its input, from which these are made again, channel block by channel block
  input8,  // the same in 8 bits, where it expands
};

// How an image gets other sides.
enum class Resampling : std::uint8_t {
  nearest,
  linear,          // between the centres of pixels
  linear_corners,  // the corners' centres stay where they are
};

// What is made of the channels of a pixel. They differ in whose the gradient is.
enum class Reduction : std::uint8_t {
  mean,
  first_largest,  // of equal ones the first has all of it
  all_largest,    // equal ones share it
};

// What a dropout drops at once.
enum class DropUnit : std::uint8_t { element, channel, image };

struct OpSpec {
  OpKind kind = OpKind::conv;
  std::vector<int> inputs;
  int output = 0;
  std::vector<int> layers;
  bool residual = false;  // block: add the input to the output
  Index block = kPanel;   // channels of one backward channel block, a multiple of kPanel
  Activation activation = Activation::identity;
  ConvShape window;           // pool, max_pool
  bool count_padding = true;  // pool
  double drop = 0;            // dropout probability
  // How much the forward pass makes at once. Output rows of a convolution or a block in a stream, and of any block; 0:
  // as many as a cache holds, in a stream all.
  Index forward_rows = 0;
  // Channels that a block or a head expands, a multiple of kPanel, in a stream also of half of it; 0: a block all, a
  // head as many as a cache holds.
  Index forward_block = 0;
  Keep keep = Keep::masks;
  double alpha = 1, beta = 0;  // of add, affine and an activation that has such numbers
  Index groups = 1;            // group_norm
  int bits = 0;                // of the derivative of an activation that is a curve, 2 to 8; 0: its input is kept
  Resampling resampling = Resampling::nearest;
  std::vector<int> map;  // channels, gather
  DropUnit drop_unit = DropUnit::element;
  Index top = 0, left = 0;                // zeros
  Reduction reduction = Reduction::mean;  // channel_pool
  // resize: how much larger an image becomes, of which its sides are the whole part; 0: as its sides say.
  double scale_h = 0, scale_w = 0;
};

// The layers of a gated block; -1: it has none.
struct GatedLayers {
  explicit GatedLayers(const OpSpec& op) {
    const std::size_t count = op.layers.size();
    const bool gated = count >= 4, expands = count % 2 == 1;
    std::size_t next = 0;
    if (expands) expand = op.layers[next++];
    depthwise = op.layers[next++];
    if (gated) reduce = op.layers[next++], restore = op.layers[next++];
    project = op.layers[next];
  }
  int expand = -1, depthwise = -1, reduce = -1, restore = -1, project = -1;
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
