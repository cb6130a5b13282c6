#include <cmath>
#include <limits>

#include "specs.h"

namespace fuzz {

using namespace sparsebp;

namespace {

Index odd_number(Choices& choices, Index now) {
  constexpr Index kMost = std::numeric_limits<Index>::max();
  constexpr Index kOdd[] = {0,
                            -1,
                            1,
                            2,
                            3,
                            7,
                            16,
                            17,
                            1 << 15,
                            1 << 16,
                            kMost >> 32,
                            (kMost >> 32) + 1,
                            kMost >> 31,
                            kMost >> 30,
                            kMost >> 15,
                            kMost >> 1,
                            kMost,
                            -kMost - 1,
                            -(Index{1} << 31),
                            Index{1} << 48};
  switch (choices.below(8)) {
    case 0:
      return static_cast<Index>(choices.word());
    case 1:
    case 2:
    case 3:
      return choices.from(0, 40);
    case 4:
    case 5:
      return choices.flag() ? now + (now < kMost) : now - (now > -kMost);
    default:
      return choices.of(kOdd);
  }
}

// Any of the numbers of a window.
Index& number_of(ConvShape& s, Choices& choices) {
  Index* const all[] = {&s.in,         &s.out,       &s.groups,   &s.height,     &s.width,
                        &s.out_height, &s.out_width, &s.kernel_h, &s.kernel_w,   &s.stride_h,
                        &s.stride_w,   &s.pad_h,     &s.pad_w,    &s.dilation_h, &s.dilation_w};
  return *choices.of(all);
}

double odd_fraction(Choices& choices) {
  const double all[] = {-1, 0, 0.5, 1, 1.5, NAN, INFINITY, -INFINITY, 1e300, 5e-324};
  return choices.of(all);
}

int odd_id(Choices& choices) {
  return choices.flag() ? static_cast<int>(choices.below(8)) : static_cast<int>(odd_number(choices, 0));
}

// An enumerator, or what is none.
template <class E>
E odd_kind(Choices& choices, Index known) {
  return static_cast<E>(choices.rarely(3) ? choices.byte() : choices.below(known));
}

void spoil_layer(LayerSpec& layer, Choices& choices) {
  switch (choices.below(7)) {
    case 0:
      layer.selected = odd_number(choices, layer.selected);
      return;
    case 1:
      layer.eps = odd_fraction(choices);
      return;
    case 2:
      layer.activation = odd_kind<Activation>(choices, kActivations);
      return;
    case 3:
      layer.kind = odd_kind<LayerKind>(choices, 3), layer.shared = choices.flag();
      return;
    default: {
      Index& number = number_of(layer.shape, choices);
      number = odd_number(choices, number);
    }
  }
}

void spoil_ids(std::vector<int>& ids, Choices& choices) {
  switch (choices.below(3)) {
    case 0:
      ids.push_back(odd_id(choices));
      return;
    case 1:
      if (!ids.empty()) ids.pop_back();
      return;
    default:
      if (!ids.empty()) ids[static_cast<std::size_t>(choices.below(static_cast<Index>(ids.size())))] = odd_id(choices);
  }
}

void spoil_op(OpSpec& op, Choices& choices) {
  switch (choices.below(16)) {
    case 0:
      op.kind = odd_kind<OpKind>(choices, kOpKinds);
      return;
    case 1:
      return spoil_ids(op.inputs, choices);
    case 2:
      return spoil_ids(op.layers, choices);
    case 3:
      op.output = odd_id(choices);
      return;
    case 4:
      op.residual = !op.residual;
      return;
    case 5:
      op.block = odd_number(choices, op.block);
      return;
    case 6:
      op.drop = odd_fraction(choices), op.activation = odd_kind<Activation>(choices, kActivations);
      return;
    case 7:
      op.forward_rows = odd_number(choices, op.forward_rows);
      return;
    case 8:
      op.forward_block = odd_number(choices, op.forward_block);
      return;
    case 9:
      op.keep = static_cast<Keep>(choices.below(5));
      return;
    case 10:
      return spoil_ids(op.map, choices);
    case 11:
      op.bits = odd_id(choices), op.groups = odd_number(choices, op.groups);
      return;
    case 12:
      op.alpha = odd_fraction(choices), op.beta = odd_fraction(choices);
      return;
    case 13:
      op.scale_h = odd_fraction(choices), op.scale_w = odd_fraction(choices);
      op.resampling = odd_kind<Resampling>(choices, 3);
      return;
    case 14:
      op.top = odd_number(choices, op.top), op.left = odd_number(choices, op.left);
      op.reduction = odd_kind<Reduction>(choices, 3), op.drop_unit = odd_kind<DropUnit>(choices, 3);
      return;
    default: {
      Index& number = number_of(op.window, choices);
      number = odd_number(choices, number);
    }
  }
}

// Takes one away, or puts a copy of one somewhere.
template <class T>
void spoil_list(std::vector<T>& list, Choices& choices) {
  if (list.empty()) return;
  const auto at = static_cast<std::ptrdiff_t>(choices.below(static_cast<Index>(list.size())));
  if (choices.flag()) {
    list.erase(list.begin() + at);
  } else {
    list.insert(list.begin() + at, T(list[static_cast<std::size_t>(choices.below(static_cast<Index>(list.size())))]));
  }
}

void spoil_program(ProgramSpec& spec, Choices& choices) {
  switch (choices.below(10)) {
    case 0:
      spec.batch = odd_number(choices, spec.batch);
      return;
    case 1:
      spec.input = odd_id(choices);
      return;
    case 2:
      spec.output = odd_id(choices);
      return;
    case 3:
      spec.span_begin = odd_id(choices);
      return;
    case 4:
      return spoil_list(spec.values, choices);
    case 5:
      return spoil_list(spec.layers, choices);
    case 6:
      return spoil_list(spec.streams, choices);
    case 7:
      spec.streams.push_back({odd_id(choices), odd_id(choices)});
      return;
    case 8:
      spec.scope = odd_kind<Scope>(choices, 2), spec.pictures = choices.flag();
      return;
    default:
      return spoil_list(spec.ops, choices);
  }
}

}  // namespace

void spoil(ProgramSpec& spec, Choices& choices) {
  const auto any = [&choices](auto& list) -> auto& {
    return list[static_cast<std::size_t>(choices.below(static_cast<Index>(list.size())))];
  };
  for (Index times = choices.rarely(4) ? choices.from(2, 4) : 1; times > 0; --times) {
    const Index what = choices.below(6);
    if (what <= 1 && !spec.layers.empty()) {
      spoil_layer(any(spec.layers), choices);
    } else if (what <= 3 && !spec.ops.empty()) {
      spoil_op(any(spec.ops), choices);
    } else if (what == 4 && !spec.values.empty()) {
      ValueSpec& value = any(spec.values);
      Index* const all[] = {&value.height, &value.width, &value.channels};
      Index& number = *choices.of(all);
      number = odd_number(choices, number);
    } else {
      spoil_program(spec, choices);
    }
  }
}

}  // namespace fuzz
