// Activations that the kernels of layers do not know, on a layer's output.
#include "cuda/layer.h"
#include "kernels/curve.h"

namespace sparsebp::cuda {
namespace {

struct RowArgs {
  const float* x;
  float* y;
  Index row, rows, columns;
};

template <Activation kKind>
__global__ void through(RowArgs args) {
  await_inputs();
  const auto [row, c] = divide(element(), args.columns);
  const Curve<float, kKind> curve{1.0f, 0.0f};
  if (row < args.rows) args.y[row * args.row + c] = curve.value(args.x[row * args.row + c]);
}

template <Activation kKind>
__global__ void back_through(RowArgs args) {
  await_inputs();
  const auto [row, c] = divide(element(), args.columns);
  const Curve<float, kKind> curve{1.0f, 0.0f};
  if (row < args.rows) args.y[row * args.row + c] *= curve.slope(args.x[row * args.row + c]);
}

}  // namespace

void LayerRun::activate(const float* x, float* y, Index row, Index rows, Index columns) const {
  const RowArgs args{x, y, row, rows, columns};
  if (layer.spec.activation == Activation::identity) {
    if (x != y) each(driver.queue, &through<Activation::identity>, rows * columns, args);
    return;
  }
  with_curve(layer.spec.activation,
             [&](auto kind) { each(driver.queue, &through<decltype(kind)::value>, rows * columns, args); });
}

void LayerRun::activate_back(const float* before, float* g, Index row, Index rows, Index columns) const {
  const RowArgs args{before, g, row, rows, columns};
  with_curve(layer.spec.activation,
             [&](auto kind) { each(driver.queue, &back_through<decltype(kind)::value>, rows * columns, args); });
}

}  // namespace sparsebp::cuda
