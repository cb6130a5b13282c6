// The ops beside convolutions and blocks, each in the shapes and settings that it is made for. The cases of a few use
// an op in front that makes a second input, or larger numbers than an input has, which lie between -1 and 1.
#pragma once

#include "program_builder.h"

namespace sparsebp {

// Calls run(name, input, build).
template <class Run>
void every_op_with_a_layer(const Run& run) {
  const ValueSpec image{9, 9, 20}, odd{7, 5, 33};
  run("transposed convolution", image,
      [](Builder& b) { b.conv(0, b.transposed(20, 33, 9, 3, 2, 1, 1, Activation::relu, 7), OpKind::conv_transpose); });
  run("transposed convolution whose windows leave gaps", image, [](Builder& b) {
    b.conv(0, b.transposed(20, 12, 9, 2, 3, 0, 0, Activation::relu6, 20, false), OpKind::conv_transpose);
  });
  run("transposed convolution with gaps in its windows", image, [](Builder& b) {
    const int layer = b.transposed(20, 17, 9, 3, 1, 1, 2, Activation::identity, 3);
    b.spec.layers.back().shape.dilation_h = b.spec.layers.back().shape.dilation_w = 2;
    b.conv(0, layer, OpKind::conv_transpose);
  });
  run("transposed convolution of each channel", image, [](Builder& b) {
    const int layer = b.transposed(20, 40, 9, 3, 2, 1, 1, Activation::relu6, 7);
    b.spec.layers.back().shape.groups = 20;
    b.conv(0, layer, OpKind::conv_transpose);
  });
  run("pointwise transposed convolution", image,
      [](Builder& b) { b.conv(0, b.transposed(20, 12, 9, 1, 1, 0, 0, Activation::relu, 20), OpKind::conv_transpose); });
  run("transposed convolution of many pixels", {34, 34, 4},
      [](Builder& b) { b.conv(0, b.transposed(4, 24, 34, 2, 2, 0, 0, Activation::relu, 3), OpKind::conv_transpose); });
  run("norm", image,
      [&](Builder& b) { b.op(OpKind::norm, {0}, {b.channelwise(image, true, false, Activation::relu6)}, image); });
  run("norm of many pixels", {34, 34, 4}, [](Builder& b) {
    b.op(OpKind::norm, {0}, {b.channelwise({34, 34, 4}, true, true)}, {34, 34, 4});
  });
  run("scale and shift", odd,
      [&](Builder& b) { b.op(OpKind::norm, {0}, {b.channelwise(odd, false, true, Activation::relu)}, odd); });
  run("group norm", image, [&](Builder& b) {
    b.op(OpKind::group_norm, {0}, {b.channelwise(image, false, true)}, image);
    b.last().groups = 5;
  });
  run("group norm of all channels", odd,
      [&](Builder& b) { b.op(OpKind::group_norm, {0}, {b.channelwise(odd, false, true)}, odd); });
  run("group norm of each channel", odd, [&](Builder& b) {
    b.op(OpKind::group_norm, {0}, {b.channelwise(odd, false, true)}, odd);
    b.last().groups = 33;
  });
  run("layer norm", odd, [&](Builder& b) { b.op(OpKind::layer_norm, {0}, {b.channelwise(odd, false, true)}, odd); });
}

// Blocks of any activations: with a gate and a residual, with a gate alone, without both; and such a head.
template <class Run>
void every_gated_block(const Run& run) {
  const auto build = [](Builder& b, bool expands, bool gated, Index out, Index stride) {
    const Index wide = expands ? 70 : 20, half = (9 - 1) / stride + 1;
    std::vector<int> layers;
    if (expands) layers.push_back(b.layer(20, wide, 9, 1, 1, 1, Activation::hardswish, 5));
    layers.push_back(b.layer(wide, wide, 9, 3, stride, wide, Activation::silu, 7));
    if (gated) layers.push_back(b.layer(wide, 9, 1, 1, 1, 1, Activation::relu, 11, false));
    if (gated) layers.push_back(b.layer(9, wide, 1, 1, 1, 1, Activation::hardsigmoid, 9, false));
    layers.push_back(b.layer(wide, out, half, 1, 1, 1, Activation::identity, 6));
    b.op(OpKind::gated, {0}, layers, {half, half, out});
    b.last().residual = out == 20 && stride == 1, b.last().block = 32;
  };
  const ValueSpec image{9, 9, 20};
  run("gated block", image, [&](Builder& b) { build(b, true, true, 20, 1); });
  run("gated block without expansion", image, [&](Builder& b) { build(b, false, true, 33, 2); });
  run("gated block without a gate", image, [&](Builder& b) { build(b, true, false, 20, 1); });
  run("gated block with neither", image, [&](Builder& b) { build(b, false, false, 20, 1); });
  run("gated block with a frozen expansion", image, [&](Builder& b) {
    build(b, true, true, 33, 2);
    b.spec.layers[0].selected = 0, b.spec.layers[0].train_bias = false;
  });
  run("head of a curve", image, [](Builder& b) {
    b.op(OpKind::head, {0}, {b.layer(20, 70, 9, 1, 1, 1, Activation::hardswish, 5)}, {1, 1, 70});
    b.last().block = 32;
  });
}

template <class Run>
void every_activation(const Run& run) {
  const ValueSpec odd{7, 5, 33};
  for (int kind = 0; kind < kActivations; ++kind) {
    const auto activation = static_cast<Activation>(kind);
    for (int bits : {0, 4, 7}) {
      if (bits > 0 && !is_curve(activation)) continue;
      if (bits == 7 && activation != Activation::gelu) continue;
      const std::string name = "activation " + std::to_string(kind) + " in " + std::to_string(bits) + " bits";
      run(name.c_str(), odd, [&](Builder& b) {
        const int larger = b.op(OpKind::affine, {0}, odd);
        b.last().alpha = 7, b.last().beta = 0.5;
        b.op(OpKind::activation, {larger}, odd);
        OpSpec& op = b.last();
        op.activation = activation, op.bits = bits;
        op.alpha = activation == Activation::clip ? 2 : activation == Activation::elu ? 1.5 : 0.1;
        op.beta = activation == Activation::clip ? -0.5 : 0;
      });
    }
  }
  for (bool shared : {false, true}) {
    run(shared ? "prelu of one slope" : "prelu", odd, [&](Builder& b) {
      b.op(OpKind::prelu, {0}, {b.channelwise(odd, false, false, Activation::identity, shared)}, odd);
    });
  }
  run("softmax", odd, [&](Builder& b) { b.op(OpKind::softmax, {0}, odd); });
  run("softmax of one pixel", {1, 1, 70}, [](Builder& b) { b.op(OpKind::softmax, {0}, {1, 1, 70}); });
}

template <class Run>
void every_sum_and_product(const Run& run) {
  const ValueSpec image{7, 9, 20};
  // Sides of a second input that is spread over the image.
  const ValueSpec sides[] = {{1, 1, 20}, {7, 9, 1}, {1, 9, 20}, {7, 1, 1}};
  const auto gathered = [&](Builder& b, const ValueSpec& side) {
    const int value = b.op(OpKind::gather, {0}, side);
    for (Index j = 0; j < side.count(); ++j) b.last().map.push_back(static_cast<int>(j * j % image.count()));
    return value;
  };
  for (OpKind kind : {OpKind::add, OpKind::multiply}) {
    const std::string name = kind == OpKind::add ? "sum" : "product";
    run((name + " of one value").c_str(), image, [&](Builder& b) {
      b.op(kind, {0, 0}, image);
      b.last().alpha = -0.7;
    });
    for (const ValueSpec& side : sides) {
      run((name + " with a spread value").c_str(), image, [&](Builder& b) {
        b.op(kind, {0, gathered(b, side)}, image);
        b.last().alpha = 1.3;
      });
    }
  }
  run("number times a value plus a number", image, [&](Builder& b) {
    b.op(OpKind::affine, {0}, image);
    b.last().alpha = -1.5, b.last().beta = 0.25;
  });
  run("norm of one scale", image,
      [&](Builder& b) { b.op(OpKind::norm, {0}, {b.channelwise(image, false, true, Activation::relu, true)}, image); });
}

template <class Run>
void every_move(const Run& run) {
  const ValueSpec image{4, 5, 33};
  run("values side by side", image, [&](Builder& b) {
    const int some = b.op(OpKind::channels, {0}, {4, 5, 7});
    b.last().map = {3, 4, 5, 32, 0, 1, 2};
    b.op(OpKind::concat, {0, some, 0}, {4, 5, 73});
  });
  run("channels", image, [&](Builder& b) {
    b.op(OpKind::channels, {0}, {4, 5, 40});
    for (int j = 0; j < 40; ++j) b.last().map.push_back(j * j % 33);  // some twice, some never
  });
  run("gathered numbers", image, [&](Builder& b) {
    b.op(OpKind::gather, {0}, {3, 2, 19});
    for (int j = 0; j < 3 * 2 * 19; ++j) b.last().map.push_back(j * j % 660);
  });
  run("flat image", image, [&](Builder& b) { b.op(OpKind::reshape, {0}, {1, 1, 660}); });
  run("image in other sides", image, [&](Builder& b) { b.op(OpKind::reshape, {0}, {5, 6, 22}); });
  run("image among zeros", image, [&](Builder& b) {
    b.op(OpKind::zeros, {0}, {7, 8, 33});
    b.last().top = 1, b.last().left = 2;
  });
  for (DropUnit unit : {DropUnit::element, DropUnit::channel, DropUnit::image}) {
    const std::string name = "dropout of unit " + std::to_string(static_cast<int>(unit));
    run(name.c_str(), image, [&](Builder& b) {
      b.op(OpKind::dropout, {0}, image);
      b.last().drop = 0.5, b.last().drop_unit = unit;
    });
  }
}

template <class Run>
void every_resampling(const Run& run) {
  const ValueSpec image{9, 10, 20};
  const auto window = [](Index kernel, Index stride, Index pad, Index out_height, Index out_width, Index channels) {
    ConvShape s;
    s.in = s.out = channels, s.height = 9, s.width = 10, s.out_height = out_height, s.out_width = out_width;
    s.kernel_h = s.kernel_w = kernel, s.stride_h = s.stride_w = stride, s.pad_h = s.pad_w = pad;
    return s;
  };
  const auto pool = [&](const char* name, OpKind kind, const ConvShape& s, bool count_padding = true) {
    run(name, {9, 10, s.in}, [&](Builder& b) {
      b.op(kind, {0}, {s.out_height, s.out_width, s.out});
      b.last().window = s, b.last().count_padding = count_padding;
    });
  };
  pool("pooling", OpKind::pool, window(3, 2, 0, 4, 4, 20));
  pool("pooling over a border", OpKind::pool, window(3, 2, 1, 5, 5, 20));
  pool("pooling that does not count its border", OpKind::pool, window(3, 2, 1, 5, 6, 33), false);
  pool("pooling whose last windows reach beyond the border", OpKind::pool, window(4, 3, 1, 4, 4, 20));
  pool("largest of 4", OpKind::max_pool, window(2, 2, 0, 4, 5, 33));
  pool("largest of 4 and fewer", OpKind::max_pool, window(2, 2, 0, 5, 5, 20));
  pool("largest of 9", OpKind::max_pool, window(3, 2, 1, 5, 5, 33));
  pool("largest of 25", OpKind::max_pool, window(5, 1, 2, 9, 10, 20));
  ConvShape dilated = window(3, 2, 2, 5, 4, 33);
  dilated.dilation_h = 2, dilated.dilation_w = 3;
  pool("largest of 9 with gaps", OpKind::max_pool, dilated);
  for (const ValueSpec& out : {ValueSpec{4, 3, 20}, ValueSpec{1, 1, 20}, ValueSpec{12, 10, 20}}) {
    run("parts as equal as can be", image, [&](Builder& b) { b.op(OpKind::adaptive_pool, {0}, out); });
  }
  for (Resampling how : {Resampling::nearest, Resampling::linear, Resampling::linear_corners}) {
    for (const ValueSpec& out : {ValueSpec{18, 25, 20}, ValueSpec{4, 7, 20}, ValueSpec{1, 31, 20}}) {
      const std::string name = "other sides by " + std::to_string(static_cast<int>(how));
      run(name.c_str(), image, [&](Builder& b) {
        b.op(OpKind::resize, {0}, out);
        b.last().resampling = how;
      });
    }
    run("other sides by factors of their own", image, [&](Builder& b) {
      b.op(OpKind::resize, {0}, {13, 17, 20});
      b.last().resampling = how, b.last().scale_h = 1.5, b.last().scale_w = 1.75;
    });
  }
  for (Reduction reduction : {Reduction::mean, Reduction::first_largest, Reduction::all_largest}) {
    const std::string name = "one number a pixel by " + std::to_string(static_cast<int>(reduction));
    run(name.c_str(), image, [&](Builder& b) {
      const int clipped = b.op(OpKind::activation, {0}, image);  // many numbers are alike
      b.last().activation = Activation::relu;
      b.op(OpKind::channel_pool, {clipped}, {9, 10, 1});
      b.last().reduction = reduction;
    });
  }
}

template <class Run>
void every_op_without_layers(const Run& run) {
  every_activation(run);
  every_sum_and_product(run);
  every_move(run);
  every_resampling(run);
}

}  // namespace sparsebp
