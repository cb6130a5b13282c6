// Fills a table with every kernel compiled over vector type V. Included once by each file in isa/.
#pragma once

#include "kernels/conv.h"
#include "kernels/copy.h"
#include "kernels/curve.h"
#include "kernels/depthwise_input_grad.h"
#include "kernels/depthwise_weight_grad.h"
#include "kernels/gemm_transposed.h"
#include "kernels/mask.h"
#include "kernels/max_pool.h"
#include "kernels/peak.h"
#include "kernels/pool.h"
#include "kernels/table.h"
#include "kernels/weight_grad.h"

namespace sparsebp {
namespace {

template <class V>
constexpr Kernels<typename V::value> make_table() {
  return {&gemm<V>,
          &gemm_transposed<V>,
          &conv_forward<V>,
          &weight_grad<V>,
          &depthwise_forward<V>,
          &depthwise_input_grad<V>,
          &depthwise_weight_grad<V>,
          &activation_forward<V>,
          &mask<V>,
          &pack<V>,
          &gather<V>,
          &fold<V>,
          &all_finite<V>,
          &fma_burst<V>,
          &sgd<V>,
          &pool_forward<V>,
          &pool_backward<V>,
          &max_pool_forward<V>,
          &max_pool_backward<V>,
          &curve_forward<V>,
          &curve_backward<V>,
          V::width == kPanel ? kPair : kPanel};
}

}  // namespace
}  // namespace sparsebp
