// A layer's weights and its training state: which channels are selected, and what happens to their gradients.
#pragma once

#include "program/context.h"
#include "program/mean_square.h"

namespace sparsebp {

// Where the parameters live. Owned by the caller; null where the layer has none.
template <class T>
struct LayerParams {
  T* weight = nullptr;  // HWIO
  T* bias = nullptr;
  const T* gamma = nullptr;
  T* beta = nullptr;
  const T* mean = nullptr;
  const T* var = nullptr;
};

// Training state inside the arena, persistent between steps. Null where the plan has none.
template <class T>
struct LayerState {
  // In this process's memory, wherever the arena is: see training_state.h.
  std::int32_t* indices = nullptr;  // [selected], null when every channel is selected
  std::uint8_t* visited = nullptr;  // one bit per channel
  // In the arena.
  std::int32_t* arena_indices = nullptr;
  float* scores = nullptr;  // [in], running gradient norm; negative: never visited
  T* momentum = nullptr;    // [selected][taps][out per group]
  T* bias_momentum = nullptr;
  T* beta_momentum = nullptr;
  T* sum = nullptr;  // like momentum
  T* bias_sum = nullptr;
  T* beta_sum = nullptr;
  MeanSquare *square = nullptr, *bias_square = nullptr, *beta_square = nullptr;
};

struct LayerRules {
  Rule weight, bias, beta;
};

// Squared gradient norms while a backward pass runs, if the plan wants them: added up by whoever has the gradient.
struct SquaredNorms {
  float* rows = nullptr;                   // [selected]
  float *bias = nullptr, *beta = nullptr;  // [panels of output channels]
};

// The gradient of a layer's output over some of its output channels.
template <class T>
struct OutputGrad {
  const T* dz;  // [images * out_pixels][row], first column is output channel `begin`
  Index row;
  Index begin, count;
  const T* scale;          // batch-norm scale of these channels, or null
  ColumnParts parts = {};  // that dz lies in, if any: `row` is meaningless then

  // Channels [first, first + channels) of a gradient without parts.
  OutputGrad columns(Index first, Index channels) const {
    return {dz + first, row, begin + first, channels, scale != nullptr ? scale + first : nullptr};
  }
  // One of the parts, of so many pixels.
  OutputGrad part(Index i, Index pixels) const {
    const Index first = parts.begin(i), width = parts.width(i);
    return {dz + first * pixels, width, begin + first, width, scale != nullptr ? scale + first : nullptr};
  }
};

// Channels of a layer's input, kept for the gradient of its weights: the selected ones, or a run of neighbours.
template <class T>
struct Slice {
  T* data = nullptr;
  Index pixel = 0;   // numbers of a pixel
  Index first = -1;  // the channel in column 0; -1: column j has the j-th selected one
};

template <class T>
class Layer {
 public:
  explicit Layer(LayerSpec layer_spec) : spec(std::move(layer_spec)) {}

  const LayerSpec spec;
  LayerParams<T> params;
  LayerState<T> state;
  LayerRules rules;
  SquaredNorms squared_norms;
  Index spare = 0;  // output channels, the last ones, that do not train; only without groups

  bool selects_all() const { return spec.selected == spec.shape.in; }
  Index channel(Index j) const { return state.indices != nullptr ? state.indices[j] : j; }
  Index sum_count() const { return spec.selected * spec.shape.weights_per_channel(); }
  Index training_outputs() const { return spec.shape.out - spare; }
  Index training_weights() const { return sum_count() - spec.selected * spec.shape.taps() * spare; }
  // Is there something to do with the weights' gradient?
  bool wants_weight_grad() const { return spec.trains_weight() && (rules.weight.on || state.sum != nullptr); }

  // scale and shift of output channels [begin, begin + count); either may be null.
  void fold(const Kernels<T>& kernels, Index begin, Index count, T* scale, T* shift) const;

  // The selected channels side by side, [pixels][selected].
  Slice<T> slice(T* data) const { return {data, spec.selected, -1}; }

  // Copies of channels [begin, begin + count) of x ([pixels][x_pixel], column 0 = begin) those that `saved` has.
  void save(const Kernels<T>& kernels, const T* x, Index x_pixel, Index pixels, Index begin, Index count,
            const Slice<T>& saved) const;

  // Trains the weight rows of the selected ones of input channels [begin, begin + count), if there are any saved.
  void update_weight(const Kernels<T>& kernels, Index images, const OutputGrad<T>& grad, const Slice<T>& saved,
                     Index begin, Index count);

  // The same for a depthwise layer: `grad` covers at most kPanel channels and is indexed like the input.
  void update_depthwise(const Kernels<T>& kernels, Index images, const OutputGrad<T>& grad, const Slice<T>& saved);

  // Trains bias and shift of `count` <= kPanel output channels from the sums of their gradients.
  void update_shift(const Kernels<T>& kernels, Index begin, Index count, const T* sums, const T* scale);

  // Brings scores and mean squares up to date with the pass's squared norms, and lets go of those.
  void update_statistics();

  // The last `count` output channels do not train from here on. Of those that did not and do now, weights, bias and
  // momentum are zero.
  void set_spare(Index count);

  // Applies and clears the gradient sums.
  void apply(const Kernels<T>& kernels);

 private:
  Index column(const Slice<T>& saved, Index j) const { return saved.first < 0 ? j : channel(j) - saved.first; }
  void update_rows(const Kernels<T>& kernels, WeightGradArgs<T>& args, const Index* selected, int count, Index tap,
                   Index first_column) const;

  // Trains the filters of a depthwise layer's `count` selected channels from number j on; neighbours, if several.
  void update_filters(const Kernels<T>& kernels, Index images, const OutputGrad<T>& grad, const Slice<T>& saved,
                      Index j, Index count);
};

}  // namespace sparsebp
