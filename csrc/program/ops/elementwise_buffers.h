// What ops without weights that work element by element acquire while they run, wherever that is.
#pragma once

#include "program/op.h"

namespace sparsebp {

template <class T>
class Elementwise : public Op<T> {
 public:
  Elementwise(const OpSpec& op, const ProgramSpec& program)
      : Op<T>(op),
        height_(program.values[static_cast<std::size_t>(op.output)].height),
        channels_(program.values[static_cast<std::size_t>(op.output)].channels),
        pixels_(program.values[static_cast<std::size_t>(op.output)].pixels()) {}

 protected:
  T* value(Context<T>& context, int id) const { return context.values[static_cast<std::size_t>(id)]; }
  Index count(const Context<T>& context) const { return context.images * pixels_ * channels_; }
  Index rows(const Context<T>& context) const { return context.images * pixels_; }
  const Index height_, channels_, pixels_;
};

template <class T>
class ActivationBuffers : public Elementwise<T> {
 public:
  ActivationBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Elementwise<T>(op, program) {
    if (declare.in_span && op.activation != Activation::identity) {
      mask_ = declare.mask(-1, declare.batch * this->pixels_ * mask_row_bytes(this->channels_));
    }
  }

 protected:
  // Null where backward needs none.
  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (!context.save || mask_ < 0) return nullptr;
    return context.training.template acquire<std::uint8_t>(mask_,
                                                           this->rows(context) * mask_row_bytes(this->channels_));
  }
  const std::uint8_t* mask(Context<T>& context) const {
    return mask_ >= 0 ? context.training.template at<std::uint8_t>(mask_) : nullptr;
  }

 private:
  int mask_ = -1;
};

// One bit an element: was it kept.
template <class T>
class DropoutBuffers : public Elementwise<T> {
 public:
  DropoutBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Elementwise<T>(op, program) {
    if (declare.in_span) mask_ = declare.mask(-1, (declare.batch * this->pixels_ * this->channels_ + 7) / 8);
  }

 protected:
  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (!context.save || mask_ < 0) return nullptr;
    return context.training.template acquire<std::uint8_t>(mask_, (this->count(context) + 7) / 8);
  }
  const std::uint8_t* mask(Context<T>& context) const { return context.training.template at<std::uint8_t>(mask_); }
  // Does this pass drop anything. An inference pass must not change what backward undoes.
  bool begin_forward(const Context<T>& context) {
    const bool drop = context.drop && this->spec.drop > 0;
    if (context.save) dropped_ = drop;
    return drop;
  }
  T keep_scale() const { return this->spec.drop < 1 ? T(1) / static_cast<T>(1 - this->spec.drop) : T(0); }
  T backward_scale() const { return dropped_ ? keep_scale() : T(1); }

 private:
  int mask_ = -1;
  bool dropped_ = false;
};

}  // namespace sparsebp
