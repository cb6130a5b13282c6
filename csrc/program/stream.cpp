#include "program/stream.h"

#include <algorithm>

namespace sparsebp {

template <class T>
Stream<T>::Stream(const ProgramSpec& spec, const StreamSpec& stream)
    : first_(stream.first), walk_(spec, stream), rows_(stream_rows(walk_)) {
  const auto op = [&](int i) -> const OpSpec& { return spec.ops[static_cast<std::size_t>(i)]; };
  source_ = op(stream.first).inputs[0], result_ = op(stream.last - 1).output;
  const auto count = [&](int value) { return spec.values[static_cast<std::size_t>(value)].count(); };
  source_count_ = count(source_), result_count_ = count(result_);
}

template <class T>
void Stream<T>::declare(Context<T>& context, const ProgramSpec& spec) {
  for (int i = 0; i < walk_.size(); ++i) {
    const OpSpec& op = spec.ops[static_cast<std::size_t>(first_ + i)];
    const ValueSpec& value = spec.values[static_cast<std::size_t>(op.inputs[0])];
    Held held{-1, value.width * value.channels, nullptr};
    if (walk_.holds(i)) {
      const std::string name = "value" + std::to_string(op.inputs[0]) + ".rows";
      held.buffer = context.workspace->layout.add(
          name, {first_ + i, -1, "rows"}, Category::activations,
          byte_count(name, rows_[static_cast<std::size_t>(i)].held * held.row, sizeof(T)), first_, last() - 1);
    }
    held_.push_back(held);
  }
}

// One image.
template <class T>
struct Stream<T>::Pass {
  Context<T>& context;
  const std::vector<std::unique_ptr<Op<T>>>& ops;
  const InputBuffers<T>& input;
  Stream& stream;
  Index image;
  const T* x;
  T* y;

  Held& held(int op) const { return stream.held_[static_cast<std::size_t>(op)]; }

  void drop(int op, Range rows, Index begin) const {
    const Held& own = held(op);
    if (begin < rows.end) {
      std::copy(own.data + (begin - rows.begin) * own.row, own.data + (rows.end - rows.begin) * own.row, own.data);
    }
  }
  void read(Range rows, Range wanted) const {
    const Held& own = held(0);
    input.read(image, wanted, own.data + (wanted.begin - rows.begin) * own.row);
  }
  void make(int op, Range rows, Range out) const {
    const Rows<const T> from = stream.walk_.holds(op) ? Rows<const T>{held(op).data, rows.begin} : Rows<const T>{x, 0};
    Rows<T> to{y, 0};
    if (op + 1 < stream.walk_.size()) {
      // Rows are made in order, each behind those that the next op holds.
      const Range next = stream.walk_.held(op + 1);
      to = {held(op + 1).data + (out.begin - next.begin) * held(op + 1).row, out.begin};
    }
    ops[static_cast<std::size_t>(stream.first_ + op)]->forward_rows(context, from, to, out);
  }
};

template <class T>
void Stream<T>::forward(Context<T>& context, const std::vector<std::unique_ptr<Op<T>>>& ops,
                        const InputBuffers<T>& input) {
  for (std::size_t i = 0; i < held_.size(); ++i) {
    if (held_[i].buffer < 0) continue;
    held_[i].data = context.workspace->template acquire<T>(held_[i].buffer, rows_[i].held * held_[i].row);
  }
  const T* x = context.values[static_cast<std::size_t>(source_)];
  T* y = context.values[static_cast<std::size_t>(result_)];
  for (Index n = 0; n < context.images; ++n) {
    Pass pass{context, ops, input, *this, n, x == nullptr ? nullptr : x + n * source_count_, y + n * result_count_};
    walk_.run(pass);
  }
}

template class Stream<float>;
template class Stream<double>;

}  // namespace sparsebp
