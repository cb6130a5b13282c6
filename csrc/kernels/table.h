// One instruction set's kernels: a constant table, no slot empty.
#pragma once

#include "kernels/args.h"

namespace sparsebp {

template <class T>
struct Kernels {
  void (*gemm)(const GemmArgs<T>&);
  void (*gemm_transposed)(const GemmTransposedArgs<T>&);
  void (*conv_forward)(const ConvForwardArgs<T>&);
  void (*weight_grad)(const WeightGradArgs<T>&);
  void (*depthwise_forward)(const DepthwiseArgs<T>&);
  void (*depthwise_input_grad)(const DepthwiseArgs<T>&);
  void (*depthwise_weight_grad)(const DepthwiseWeightGradArgs<T>&);
  void (*activation_forward)(const ActivationArgs<T>&);
  void (*mask)(const MaskArgs<T>&);
  void (*pack)(const PackArgs<T>&);
  void (*gather)(const GatherArgs<T>&);
  void (*fold)(const FoldArgs<T>&);
  bool (*all_finite)(const T* x, Index count);
  Index (*fma_burst)(Index rounds, T* sink);
  void (*sgd)(const SgdArgs<T>&);
  void (*pool_forward)(const PoolArgs<T>&);
  void (*pool_backward)(const PoolArgs<T>&);
  void (*max_pool_forward)(const MaxPoolArgs<T>&);
  void (*max_pool_backward)(const MaxPoolArgs<T>&);
  void (*curve_forward)(const CurveArgs<T>&);
  void (*curve_backward)(const CurveGradArgs<T>&);
  Index tile_columns;  // of the widest tile of a product: kPanel or kPair
};

}  // namespace sparsebp
