// Ops that only move numbers: values side by side by their channels, channels in another order, images in other sides.
#include <algorithm>

#include "platform/parallel.h"
#include "program/ops/other_sides.h"
#include "program/ops/runs.h"

namespace sparsebp {
namespace {

template <class T>
class Concat final : public Op<T> {
 public:
  Concat(const OpSpec& op, const ProgramSpec& program)
      : Op<T>(op), out_(program.values[static_cast<std::size_t>(op.output)]) {
    Index first = 0;
    for (int input : op.inputs) {
      parts_.push_back({first, program.values[static_cast<std::size_t>(input)].channels});
      first += parts_.back().count;
    }
  }

  void forward(Context<T>& context) override {
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const Part part = parts_[i];
      const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[i])];
      parallel_for(context.images * out_.pixels(), part.count, [&](Index pixel) {
        std::copy_n(x + pixel * part.count, part.count, y + pixel * out_.channels + part.first);
      });
    }
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (context.grads[static_cast<std::size_t>(this->spec.inputs[i])] == nullptr) continue;
      const Part part = parts_[i];
      const auto target = this->input_grad(context, static_cast<int>(i));
      parallel_for(context.images * out_.pixels(), part.count, [&](Index pixel) {
        const T* g = dy + pixel * out_.channels + part.first;
        for (Index c = 0; c < part.count; ++c) put(target.grad[pixel * part.count + c], g[c], target.accumulate);
      });
    }
  }

 private:
  struct Part {
    Index first, count;  // channels
  };
  const ValueSpec out_;
  std::vector<Part> parts_;
};

// Output number j of a unit of numbers is its number map[j]: of a pixel the channels, or of an image all of them. An
// input number may go to several places, or to none.
template <class T>
class Mapped final : public Op<T> {
 public:
  Mapped(const OpSpec& op, const ProgramSpec& program) : Op<T>(op) {
    const ValueSpec& value = program.values[static_cast<std::size_t>(op.inputs[0])];
    units_ = op.kind == OpKind::channels ? value.pixels() : 1;
    in_ = value.count() / units_;
  }

  void forward(Context<T>& context) override {
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    parallel_for(context.images * units_, out(), [&](Index unit) {
      const T* from = x + unit * in_;
      T* to = y + unit * out();
      for (int place : this->spec.map) *to++ = from[place];
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    parallel_for(context.images * units_, in_ + out(), [&](Index unit) {
      T* to = target.grad + unit * in_;
      const T* from = dy + unit * out();
      if (!target.accumulate) std::fill_n(to, in_, T(0));
      for (int place : this->spec.map) to[place] += *from++;
    });
  }

 private:
  Index out() const { return static_cast<Index>(this->spec.map.size()); }

  Index units_, in_;  // of an image, numbers of a unit
};

// A pixel's number of a channel, among an image's numbers as they come channel by channel, and as they lie.
struct Planes {
  explicit Planes(const ValueSpec& value) : pixels(value.pixels()), channels(value.channels) {}
  Index place(Index i) const { return i % pixels * channels + i / pixels; }
  Index pixels, channels;
};

template <class T>
class Reshape final : public OtherSides<T> {
 public:
  using OtherSides<T>::OtherSides;

  void forward(Context<T>& context) override {
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    const Planes in(this->in_), out(this->out_);
    const Index count = this->in_.count();
    parallel_runs(context.images * count, [&](Index i) {
      const Index image = i / count * count;
      y[image + out.place(i - image)] = x[image + in.place(i - image)];
    });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    const Planes in(this->in_), out(this->out_);
    const Index count = this->in_.count();
    parallel_runs(context.images * count, [&](Index i) {
      const Index image = i / count * count;
      put(target.grad[image + in.place(i - image)], dy[image + out.place(i - image)], target.accumulate);
    });
  }
};

template <class T>
class Zeros final : public OtherSides<T> {
 public:
  using OtherSides<T>::OtherSides;

  void forward(Context<T>& context) override {
    const T* x = context.values[static_cast<std::size_t>(this->spec.inputs[0])];
    T* y = context.values[static_cast<std::size_t>(this->spec.output)];
    std::fill_n(y, context.images * out_.count(), T(0));
    parallel_for(context.images * in_.height, row(),
                 [&](Index unit) { std::copy_n(x + unit * row(), row(), y + place(unit)); });
  }

  void backward(Context<T>& context) override {
    const T* dy = context.grads[static_cast<std::size_t>(this->spec.output)];
    const auto target = this->input_grad(context, 0);
    if (target.grad == nullptr) return;
    parallel_for(context.images * in_.height, row(), [&](Index unit) {
      const T* g = dy + place(unit);
      for (Index i = 0; i < row(); ++i) put(target.grad[unit * row() + i], g[i], target.accumulate);
    });
  }

 private:
  Index row() const { return in_.width * in_.channels; }
  // Where an input row, counted over all images, lies in the output.
  Index place(Index unit) const {
    const Index image = unit / in_.height, line = unit % in_.height + this->spec.top;
    return image * out_.count() + (line * out_.width + this->spec.left) * out_.channels;
  }

  using OtherSides<T>::in_, OtherSides<T>::out_;
};

}  // namespace

template <class T>
std::unique_ptr<Op<T>> make_concat(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<Concat<T>>(op, program);
}
template <class T>
std::unique_ptr<Op<T>> make_channels(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<Mapped<T>>(op, program);
}
template <class T>
std::unique_ptr<Op<T>> make_zeros(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<Zeros<T>>(op, program);
}
template <class T>
std::unique_ptr<Op<T>> make_gather(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<Mapped<T>>(op, program);
}
template <class T>
std::unique_ptr<Op<T>> make_reshape(const OpSpec& op, const ProgramSpec& program, const Declare<T>&) {
  return std::make_unique<Reshape<T>>(op, program);
}

#define SPARSEBP_INSTANTIATE(T)                                                                           \
  template std::unique_ptr<Op<T>> make_concat<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);   \
  template std::unique_ptr<Op<T>> make_channels<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&); \
  template std::unique_ptr<Op<T>> make_zeros<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);    \
  template std::unique_ptr<Op<T>> make_gather<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);   \
  template std::unique_ptr<Op<T>> make_reshape<T>(const OpSpec&, const ProgramSpec&, const Declare<T>&);
SPARSEBP_INSTANTIATE(float)
SPARSEBP_INSTANTIATE(double)

}  // namespace sparsebp
