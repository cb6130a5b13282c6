#include "spec/op_kinds.h"

#include "core/error.h"

namespace sparsebp {

OpForm form_of(const std::string& name, OpKind kind) {
  switch (kind) {
    case OpKind::conv:
      return {"conv", 1, 1, 1};
    case OpKind::depthwise:
      return {"depthwise", 1, 1, 1};
    case OpKind::block:
      return {"block", 1, 2, 3};
    case OpKind::head:
      return {"head", 1, 1, 1};
    case OpKind::add:
      return {"add", 2, 0, 0};
    case OpKind::activation:
      return {"activation", 1, 0, 0};
    case OpKind::pool:
      return {"pool", 1, 0, 0};
    case OpKind::dropout:
      return {"dropout", 1, 0, 0};
    case OpKind::max_pool:
      return {"max_pool", 1, 0, 0};
    case OpKind::adaptive_pool:
      return {"adaptive_pool", 1, 0, 0};
    case OpKind::affine:
      return {"affine", 1, 0, 0};
    case OpKind::multiply:
      return {"multiply", 2, 0, 0};
    case OpKind::concat:
      return {"concat", kAnyNumber, 0, 0};
    case OpKind::channels:
      return {"channels", 1, 0, 0};
    case OpKind::reshape:
      return {"reshape", 1, 0, 0};
    case OpKind::resize:
      return {"resize", 1, 0, 0};
    case OpKind::conv_transpose:
      return {"conv_transpose", 1, 1, 1, LayerKind::transposed};
    case OpKind::norm:
      return {"norm", 1, 1, 1, LayerKind::channelwise};
    case OpKind::group_norm:
      return {"group_norm", 1, 1, 1, LayerKind::channelwise};
    case OpKind::layer_norm:
      return {"layer_norm", 1, 1, 1, LayerKind::channelwise};
    case OpKind::prelu:
      return {"prelu", 1, 1, 1, LayerKind::channelwise};
    case OpKind::softmax:
      return {"softmax", 1, 0, 0};
    case OpKind::zeros:
      return {"zeros", 1, 0, 0};
    case OpKind::gather:
      return {"gather", 1, 0, 0};
    case OpKind::channel_pool:
      return {"channel_pool", 1, 0, 0};
    case OpKind::gated:
      return {"gated", 1, 2, 5};
  }
  throw InvalidArgument(name + ": unknown kind " + std::to_string(static_cast<int>(kind)));
}

}  // namespace sparsebp
