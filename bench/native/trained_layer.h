// A layer as a program holds it, with weights, an update set and a learning rate.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cases.h"
#include "core/draw.h"
#include "operands.h"
#include "program/layer.h"

namespace sparsebp {

class TrainedLayer {
 public:
  // `trains`: with an update set; otherwise the weights are frozen.
  TrainedLayer(const Setting& setting, bool trains)
      : layer(make_spec(setting, trains)),
        weight_(setting.layer.conv.weights()),
        indices_(static_cast<std::size_t>(layer.spec.selected)) {
    layer.params.weight = weight_.get();
    if (!trains) return;
    const ConvShape& s = setting.layer.conv;
    draw_uniform(0, static_cast<int>(s.in), static_cast<int>(layer.spec.selected), indices_.data());
    layer.state.indices = indices_.data();
    layer.rules.weight.on = true;
    // Not zero, so that the update is really done, and too small to change what is timed.
    layer.rules.weight.now.rate = 1e-9;
  }

  Layer<float> layer;

 private:
  static LayerSpec make_spec(const Setting& setting, bool trains) {
    LayerSpec spec;
    spec.name = setting.layer.name, spec.shape = setting.layer.conv;
    spec.activation = setting.layer.activates() ? Activation::relu6 : Activation::identity;
    spec.has_norm = true;
    const double share = setting.ratio * static_cast<double>(spec.shape.in);
    if (trains) spec.selected = std::max<Index>(1, std::llround(share));
    return spec;
  }

  Numbers weight_;
  std::vector<std::int32_t> indices_;
};

}  // namespace sparsebp
