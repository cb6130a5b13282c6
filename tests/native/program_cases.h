// Programs to test with: MobileNetV2 in small, a residual network of other ops, and every op by itself.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "op_cases.h"
#include "program_builder.h"

namespace sparsebp {

// Stem, a block without expansion, one of stride 2, two residual ones, head, dropout, linear.
inline ProgramSpec mobilenet(const Options& options) {
  const Index size = options.size, half = size / 2, quarter = size / 4;
  Builder b(options, {size, size, 3});
  int v = b.conv(0, b.layer(3, 8, size, 3, 2, 1, Activation::relu6, options.span_begin == 0 ? 2 : 0));
  v = b.block(v, 8, 1, 12, half, 1, 3);
  v = b.block(v, 12, 6, 20, half, 2, 7);
  v = b.block(v, 20, 6, 20, quarter, 1, 11);
  v = b.block(v, 20, 6, 20, quarter, 1, 0);  // passes the gradient, trains shifts alone
  v = b.op(OpKind::head, {v}, {b.layer(20, 288, quarter, 1, 1, 1, Activation::relu6, 5)}, {1, 1, 288});
  v = b.op(OpKind::dropout, {v}, {}, {1, 1, 288});
  b.last().drop = 0.2;
  b.conv(v, b.layer(288, 10, 1, 1, 1, 1, Activation::identity, 288, false));
  return b.spec;
}

// A basic block with grouped and depthwise convolutions, a lone activation, pooling, an activation as the last word.
inline ProgramSpec resnet(const Options& options) {
  Builder b(options, {27, 27, 6});
  const int stem = b.conv(0, b.layer(6, 18, 27, 3, 1, 1, Activation::relu, 4));
  int v = b.conv(stem, b.layer(18, 18, 27, 3, 1, 3, Activation::relu, 5));
  v = b.conv(v, b.layer(18, 18, 27, 3, 1, 18, Activation::identity, 18), OpKind::depthwise);
  v = b.op(OpKind::add, {v, stem}, {}, {27, 27, 18});
  v = b.op(OpKind::activation, {v}, {}, {27, 27, 18});
  b.last().activation = Activation::relu;
  v = b.conv(v, b.layer(18, 20, 27, 3, 2, 1, Activation::relu6, 6));
  ConvShape window;
  window.in = window.out = 20, window.height = window.width = 14, window.kernel_h = window.kernel_w = 14;
  v = b.op(OpKind::pool, {v}, {}, {1, 1, 20});
  b.last().window = window;
  b.conv(v, b.layer(20, 7, 1, 1, 1, 1, Activation::relu, 9, false));
  return b.spec;
}

// Whether SPARSEBP_BRIEF asks for fewer variants and repetitions: an emulator takes hundreds of times as long, and what
// it is there for are the kernels.
inline bool brief() {
  static const bool set = [] {
    const char* value = std::getenv("SPARSEBP_BRIEF");
    const bool is_set = value != nullptr && *value != '\0';
    if (is_set) std::printf("SPARSEBP_BRIEF is set: fewer programs and steps\n");
    return is_set;
  }();
  return set;
}

// Calls f(name, spec, options) for both networks in every variant of the training state; if brief, in the variants that
// between them have every kind of it.
template <class F>
void every_program(F f) {
  std::vector<std::pair<const char*, Options>> variants(8);
  variants[0].first = "plain";
  variants[1].first = "momentum";
  variants[1].second.momentum = true;
  variants[2].first = "sums";
  variants[2].second.sums = true, variants[2].second.draw = Draw::cyclic;
  variants[3].first = "scores";
  variants[3].second.scores = true, variants[3].second.draw = Draw::weighted;
  variants[4].first = "all of it, the whole network";
  variants[4].second = {true, true, true, true, 0, Draw::largest, 288, 40};
  variants[5].first = "a late span in narrow blocks";
  variants[5].second.span_begin = 3, variants[5].second.block = 16;
  variants[6].first = "normalised";
  variants[6].second.normalise = true, variants[6].second.input_grad = true;
  variants[7].first = "normalised sums and scores";
  variants[7].second = {true, true, true, false, 1, Draw::weighted, 80, 40, true};
  if (brief()) variants = {variants[0], variants[4], variants[7]};
  for (const auto& [name, options] : variants) {
    f(std::string("mobilenet, ") + name, mobilenet(options), options);
    f(std::string("resnet, ") + name, resnet(options), options);
  }
}

// Calls f(name, spec, options) for programs of one op, if brief only with an input gradient: without one fewer kernels
// run. In these all buffers are alive together, so none shares its bytes with another and each can be looked at by
// itself.
template <class F>
void every_op(F f) {
  for (bool input_grad : {true, false}) {
    if (brief() && !input_grad) continue;
    Options options;
    options.span_begin = 0, options.input_grad = input_grad;
    const auto run = [&](const char* name, const ValueSpec& input, auto build) {
      Builder b(options, input);
      build(b);
      f(std::string("one ") + name + (input_grad ? " with input gradient" : ""), b.spec, options);
    };
    const ValueSpec image{9, 9, 20};
    run("pointwise convolution", image,
        [](Builder& b) { b.conv(0, b.layer(20, 33, 9, 1, 1, 1, Activation::relu, 7)); });
    run("convolution", image, [](Builder& b) { b.conv(0, b.layer(20, 270, 9, 3, 2, 1, Activation::relu6, 20)); });
    run("grouped convolution", image, [](Builder& b) { b.conv(0, b.layer(20, 12, 9, 3, 1, 4, Activation::relu, 3)); });
    const ValueSpec large{34, 34, 4};  // pixels enough to be shared
    run("pointwise convolution of many pixels", large,
        [](Builder& b) { b.conv(0, b.layer(4, 24, 34, 1, 1, 1, Activation::relu, 3)); });
    run("convolution of many pixels", large,
        [](Builder& b) { b.conv(0, b.layer(4, 70, 34, 3, 1, 1, Activation::relu6, 2)); });
    run("linear layer", {1, 1, 20},
        [](Builder& b) { b.conv(0, b.layer(20, 10, 1, 1, 1, 1, Activation::identity, 5, false)); });
    run("depthwise convolution", image,
        [](Builder& b) { b.conv(0, b.layer(20, 20, 9, 3, 2, 20, Activation::relu6, 4), OpKind::depthwise); });
    run("depthwise convolution of many pixels, 5 x 5", {34, 34, 16},
        [](Builder& b) { b.conv(0, b.layer(16, 16, 34, 5, 1, 16, Activation::relu6, 3), OpKind::depthwise); });
    run("block", image, [](Builder& b) { b.block(0, 20, 6, 20, 9, 1, 5); });
    run("block of many pixels", {34, 34, 64}, [](Builder& b) { b.block(0, 64, 2, 64, 34, 1, 14); });
    run("block of stride 2", image, [](Builder& b) { b.block(0, 20, 4, 270, 9, 2, 5); });
    run("block without expansion", image, [](Builder& b) { b.block(0, 20, 1, 20, 9, 1, 5); });
    run("block with a frozen expansion", image, [](Builder& b) {
      b.block(0, 20, 6, 20, 9, 1, 5);
      b.spec.layers[0].selected = 0, b.spec.layers[0].train_bias = false;
    });
    run("block whose projection alone trains", image, [](Builder& b) {
      b.block(0, 20, 6, 20, 9, 1, 5);
      for (int l : {0, 1}) b.spec.layers[static_cast<std::size_t>(l)].selected = 0;
      for (int l : {0, 1}) b.spec.layers[static_cast<std::size_t>(l)].train_bias = false;
    });
    run("head", image, [](Builder& b) {
      b.op(OpKind::head, {0}, {b.layer(20, 270, 9, 1, 1, 1, Activation::relu6, 5)}, {1, 1, 270});
    });
    every_op_with_a_layer(run);
    every_gated_block(run);
    if (input_grad) every_op_without_layers(run);  // which have nothing to train
  }
}

}  // namespace sparsebp
