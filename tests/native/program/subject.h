// A small program to call, rightly and wrongly.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "program/rules.h"
#include "program_cases.h"

namespace sparsebp {

// Ops: 0 conv, 1 add of its input and output, 2 conv.
inline ProgramSpec residual(bool sums = false) {
  Options options;
  options.span_begin = 0, options.input_grad = true, options.scores = true, options.sums = sums;
  Builder b(options, {6, 6, 4});
  const int v = b.conv(0, b.layer(4, 4, 6, 3, 1, 1, Activation::relu, 2));
  b.op(OpKind::add, {v, 0}, {}, {6, 6, 4});
  b.conv(2, b.layer(4, 5, 6, 1, 1, 1, Activation::identity, 3));
  return b.spec;
}

constexpr ParameterRule kParameterRule{true, 0.01, 0.01, 0.01, false};
constexpr LayerRule kRule{kParameterRule, kParameterRule, kParameterRule};

// A program with memory to call it on, allocated and bound if wanted.
struct Subject {
  std::unique_ptr<AnyProgram> program;
  std::vector<float> weights = std::vector<float>(1000, 0.1f), x = std::vector<float>(1000, 0.5f);
  std::vector<float> y = std::vector<float>(1000), dx = std::vector<float>(1000);
  std::vector<LayerRule> rules;

  explicit Subject(ProgramSpec spec, bool allocates = true, bool binds = true)
      : program(make_program(std::move(spec), false, "")), rules(program->spec().layers.size(), kRule) {
    if (allocates) program->allocate(program->training_layout().peak());
    for (int l = 0; binds && l < static_cast<int>(program->spec().layers.size()); ++l) program->bind(l, params(l));
  }
  RawParams params(int layer) {
    const LayerSpec& l = program->spec().layers[static_cast<std::size_t>(layer)];
    float* w = weights.data();
    RawParams p{w, l.has_bias ? w : nullptr, nullptr, nullptr, nullptr, nullptr};
    if (l.has_norm) p.gamma = p.beta = p.mean = p.var = w;
    return p;
  }
  void forward(int first = 0, int last = 3, Index images = 2, bool save = true) {
    program->forward(first, last, x.data(), y.data(), images, save, false, 0);
  }
  void backward() { program->backward(y.data(), dx.data(), rules, false); }
};

}  // namespace sparsebp
