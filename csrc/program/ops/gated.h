// An inverted residual with any activations and a gate per channel (squeeze and excitation). Its gate wants the
// filtered tensor, all channels of it, and the gradients of its activations are numbers: keeping them would take the
// expanded tensors whole. So it keeps its input, and makes the rest again while it runs backward, channel block by
// channel block: once for the gradient of the gate, which sums over pixels, and once for all else.
#pragma once

#include "program/ops/activate.h"
#include "program/ops/gated_buffers.h"

namespace sparsebp {

template <class T>
class Gated final : public GatedBuffers<T> {
 public:
  using GatedBuffers<T>::GatedBuffers;

  void forward(Context<T>& context) override;
  void backward(Context<T>& context) override;

 private:
  using Base = GatedBuffers<T>;
  using Base::gated, Base::expands, Base::layer, Base::panel_rows;
  using Base::in_, Base::wide_, Base::reduced_, Base::out_, Base::in_rows_, Base::out_rows_, Base::block_;
  using Base::parts_, Base::input_grad_, Base::trains_, Base::wide_grad_;
  using typename Base::Kept;
  using typename Base::Scratch;
  using typename Base::Wide;
  using typename Op<T>::Target;

  // A unit of kPanel channels of a block.
  struct Unit {
    Index first;  // of the block
    Index index;  // in the block
    Index channel, count;
  };

  void make_gate(Context<T>& context, const Wide& wide, const Kept& kept) const;
  void remake(Context<T>& context, const Scratch& scratch, const T* x, const Unit& unit) const;
  void filtered_gradient(Context<T>& context, const Scratch& scratch, const T* dy, const Unit& unit) const;
  void gate_gradient(Context<T>& context, const Scratch& scratch, const Unit& unit) const;
  void gate_backward(Context<T>& context, const Scratch& scratch, const Kept& kept);
  void unit_backward(Context<T>& context, const Scratch& scratch, const Kept& kept, const T* dy, const Target& target,
                     const Unit& unit);
  void train_shifts(Context<T>& context, Layer<T>& trained, const T* gradient, Index rows, Index columns) const;
};

}  // namespace sparsebp
