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

// What an activation keeps for its backward pass: a bit an element, panel by panel where a layer's kernels can write
// them, else element by element; of a curve a few bits, or its input.
template <class T>
class ActivationBuffers : public Elementwise<T> {
 public:
  ActivationBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Elementwise<T>(op, program) {
    if (!declare.in_span || op.activation == Activation::identity) return;
    const Index count = declare.batch * this->pixels_ * this->channels_;
    if (is_layers(op.activation)) {
      mask_ = declare.mask(-1, declare.batch * this->pixels_ * mask_row_bytes(this->channels_));
    } else if (bits() > 0) {
      mask_ = declare.mask(-1, kept_bytes(count, bits()));
    } else {
      input_ = declare.template kept<T>("input", count);
    }
  }

 protected:
  static constexpr Index kept_bytes(Index count, int bits) { return div_up(count, 8) * bits; }
  // An element; 0: its input is kept.
  int bits() const { return is_curve(this->spec.activation) ? this->spec.bits : 1; }

  // Null where backward needs none.
  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (!context.save || mask_ < 0) return nullptr;
    const Index bytes = is_layers(this->spec.activation) ? this->rows(context) * mask_row_bytes(this->channels_)
                                                         : kept_bytes(this->count(context), bits());
    return context.training.template acquire<std::uint8_t>(mask_, bytes);
  }
  T* acquire_input(Context<T>& context) const {
    if (!context.save || input_ < 0) return nullptr;
    return context.training.template acquire<T>(input_, this->count(context));
  }
  const std::uint8_t* mask(Context<T>& context) const {
    return mask_ >= 0 ? context.training.template at<std::uint8_t>(mask_) : nullptr;
  }
  const T* input(Context<T>& context) const { return input_ >= 0 ? context.training.template at<T>(input_) : nullptr; }

 private:
  int mask_ = -1, input_ = -1;
};

// Where an element is negative the slope of its channel counts: one bit an element.
template <class T>
class PreluBuffers : public Elementwise<T> {
 public:
  PreluBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Elementwise<T>(op, program), layer_(op.layers.at(0)) {
    slopes_ = declare.forward_scratch("slopes", this->channels_);
    if (!declare.in_span) return;
    mask_ = declare.mask(-1, declare.batch * this->pixels_ * mask_row_bytes(this->channels_));
    backward_slopes_ = declare.backward_scratch("slopes", this->channels_);
  }

 protected:
  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (!context.save || mask_ < 0) return nullptr;
    const Index bytes = this->rows(context) * mask_row_bytes(this->channels_);
    return context.training.template acquire<std::uint8_t>(mask_, bytes);
  }
  const std::uint8_t* mask(Context<T>& context) const { return context.training.template at<std::uint8_t>(mask_); }

  const int layer_;
  int slopes_ = -1, backward_slopes_ = -1;

 private:
  int mask_ = -1;
};

// A product keeps of each input what the other one's gradient needs.
template <class T>
class ProductBuffers : public Elementwise<T> {
 public:
  ProductBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Elementwise<T>(op, program), second_(program.values[static_cast<std::size_t>(op.inputs[1])]) {
    if (!declare.in_span) return;
    if (declare.input_grads[1] != 0) {
      first_input_ = declare.template kept<T>("first input", declare.batch * this->pixels_ * this->channels_);
    }
    if (declare.input_grads[0] != 0)
      second_input_ = declare.template kept<T>("second input", declare.batch * second_.count());
  }

 protected:
  // While a forward pass saves: null where backward needs none.
  T* acquire_first(Context<T>& context) const {
    if (!context.save || first_input_ < 0) return nullptr;
    return context.training.template acquire<T>(first_input_, this->count(context));
  }
  T* acquire_second(Context<T>& context) const {
    if (!context.save || second_input_ < 0) return nullptr;
    return context.training.template acquire<T>(second_input_, context.images * second_.count());
  }
  const T* first(Context<T>& context) const {
    return first_input_ < 0 ? nullptr : context.training.template at<T>(first_input_);
  }
  const T* second(Context<T>& context) const {
    return second_input_ < 0 ? nullptr : context.training.template at<T>(second_input_);
  }

  const ValueSpec second_;

 private:
  int first_input_ = -1, second_input_ = -1;
};

// The gradient of a softmax is made from what it made.
template <class T>
class SoftmaxBuffers : public Elementwise<T> {
 public:
  SoftmaxBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Elementwise<T>(op, program) {
    if (declare.in_span) result_ = declare.template kept<T>("result", declare.batch * this->pixels_ * this->channels_);
  }

 protected:
  T* acquire_result(Context<T>& context) const {
    if (!context.save || result_ < 0) return nullptr;
    return context.training.template acquire<T>(result_, this->count(context));
  }
  const T* result(Context<T>& context) const { return context.training.template at<T>(result_); }

 private:
  int result_ = -1;
};

// One bit of each unit that is dropped at once: was it kept.
template <class T>
class DropoutBuffers : public Elementwise<T> {
 public:
  DropoutBuffers(const OpSpec& op, const ProgramSpec& program, const Declare<T>& declare)
      : Elementwise<T>(op, program) {
    if (declare.in_span) mask_ = declare.mask(-1, (units(declare.batch) + 7) / 8);
  }

 protected:
  Index units(Index images) const {
    switch (this->spec.drop_unit) {
      case DropUnit::channel:
        return images * this->channels_;
      case DropUnit::image:
        return images;
      default:
        return images * this->pixels_ * this->channels_;
    }
  }
  // That an element belongs to.
  Index unit_of(Index element) const {
    const Index image = element / (this->pixels_ * this->channels_);
    switch (this->spec.drop_unit) {
      case DropUnit::channel:
        return image * this->channels_ + element % this->channels_;
      case DropUnit::image:
        return image;
      default:
        return element;
    }
  }

  std::uint8_t* acquire_mask(Context<T>& context) const {
    if (!context.save || mask_ < 0) return nullptr;
    return context.training.template acquire<std::uint8_t>(mask_, (units(context.images) + 7) / 8);
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
