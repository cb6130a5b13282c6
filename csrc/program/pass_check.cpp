#include "program/pass_check.h"

#include <string>

#include "core/address.h"
#include "core/error.h"
#include "spec/liveness.h"

namespace sparsebp {

PassCheck::PassCheck(const ProgramSpec& spec, std::size_t element)
    : spec_(spec), element_(element), producer_(find_liveness(spec).producer) {}

void PassCheck::range(int first, int last, Index images, bool save) const {
  const int n = static_cast<int>(spec_.ops.size()), begin = spec_.span_begin;
  // Made when it is needed: a pass that is right allocates nothing.
  const auto got = [&] { return ", got " + std::to_string(first) + " and " + std::to_string(last); };
  if (first < 0 || last > n || first >= last) {
    throw InvalidArgument("forward: expected 0 <= first < last <= " + std::to_string(n) + " ops" + got());
  }
  if (images < 0 || images > spec_.batch) {
    throw InvalidArgument("forward: images: at most " + std::to_string(spec_.batch) + " images fit, got " +
                          std::to_string(images));
  }
  if (save && (first > begin || last != n)) {
    throw InvalidArgument("forward: save: a training pass takes the whole span, expected first <= " +
                          std::to_string(begin) + " and last = " + std::to_string(n) + got());
  }
  whole_streams(first, last);
  one_way_in(first, last);
}

void PassCheck::addresses(int first, int last, const PassInput& in, const void* out, Index images) const {
  input(first, in, images);
  value("forward: output", out, op(last - 1).output, images);
}

void PassCheck::value(const char* what, const void* address, int value, Index images) const {
  check_address(what, address, images * spec_.values[static_cast<std::size_t>(value)].count(), element_);
}

// A stream runs all of its ops.
void PassCheck::whole_streams(int first, int last) const {
  for (const StreamSpec& stream : spec_.streams) {
    for (const int end : {first, last}) {
      if (end <= stream.first || end >= stream.last) continue;
      throw InvalidArgument("forward: ops " + std::to_string(stream.first) + " to " + std::to_string(stream.last - 1) +
                            " are a stream, which runs whole; got " + std::to_string(first) + " and " +
                            std::to_string(last));
    }
  }
}

// Ops [first, last) get one value from outside, the first input of the first of them.
void PassCheck::one_way_in(int first, int last) const {
  const int in = op(first).inputs[0];
  for (int i = first; i < last; ++i) {
    for (int value : op(i).inputs) {
      if (value == in || producer_[static_cast<std::size_t>(value)] >= first) continue;
      throw InvalidArgument("forward: op " + std::to_string(i) + " reads value " + std::to_string(value) +
                            ", which exists before op " + std::to_string(first) + "; a pass from there on gets value " +
                            std::to_string(in) + " alone. Begin where one value alone goes on");
    }
  }
}

void PassCheck::input(int first, const PassInput& in, Index images) const {
  const int read = op(first).inputs[0];
  if (in.bytes == nullptr && in.reader == nullptr) return value("forward: input", in.numbers, read, images);
  if (spec_.scope != Scope::step || first > 0 || in.numbers != nullptr || in.table == nullptr) {
    throw InvalidArgument(
        "forward: input: bytes go, with a table, into the first op of a program whose budget covers the whole step");
  }
  if (in.reader != nullptr) return;
  check_address("forward: input", in.bytes, images * spec_.values[static_cast<std::size_t>(read)].count(), 1);
}

}  // namespace sparsebp
