// Puts a specification together op by op, each on the last value.
#pragma once

#include <vector>

#include "specs.h"

namespace fuzz {

// A window that fits an image; a pooling's has something inside wherever it is.
void set_window(sparsebp::ConvShape& s, Choices& choices, bool pools);
sparsebp::ValueSpec output_of(const sparsebp::ConvShape& s);

class Maker {
 public:
  explicit Maker(Choices& choices) : choices_(choices) {}
  Made make();

 private:
  using ValueSpec = sparsebp::ValueSpec;
  using ConvShape = sparsebp::ConvShape;
  using OpKind = sparsebp::OpKind;

  // What a layer applies to its output.
  enum class Applies { nothing, a_clamp, anything };

  ValueSpec first_value();
  const ValueSpec& last() const { return spec_.values.back(); }
  int last_id() const { return static_cast<int>(spec_.values.size()) - 1; }
  ConvShape shape_of(const ValueSpec& v) const;
  int add_layer(const ConvShape& shape, Applies applies = Applies::a_clamp);
  sparsebp::OpSpec& push(OpKind kind, std::vector<int> inputs, std::vector<int> layers, const ValueSpec& out);
  // An earlier value that may stand beside the last one: of its size, or spread over it; else the last one itself.
  int another(bool spreads);

  // make_spec.cpp: convolutions, blocks, averages, sums.
  void add_op();
  void add_conv(bool pointwise);
  void add_filter();
  void add_block();
  void add_head();
  void add_pool(OpKind kind);

  // make_layers.cpp: what else has layers.
  void add_op_with_layer();
  void add_transposed();
  void add_channelwise(OpKind kind);
  void add_gated();

  // make_more_ops.cpp: what has none.
  void add_op_without_layers();
  void add_curve();
  void add_concat();
  void add_map(OpKind kind);
  void add_zeros();
  void add_resize();

  Choices& choices_;
  bool huge_ = false;
  sparsebp::ProgramSpec spec_;
};

}  // namespace fuzz
