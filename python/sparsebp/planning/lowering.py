"""Writing a planner's choice, or one convolution, as the specification of a native program."""

from __future__ import annotations

import torch
from torch import nn

from .. import _C
from ..capture.graph import Graph
from ..capture.layer import Layer, Value
from ..capture.read_layers import convolution_kind, module_tensors, module_window
from .choice import Choice
from .conv_geometry import conv_shape

_KINDS = {"transposed": _C.LayerKind.transposed, "norm": _C.LayerKind.channelwise}


def trains_bias(graph: Graph, layer: int, choice: Choice) -> bool:
    """Whether the bias or shift of a layer of the span trains; a linear layer's always does."""
    item = graph.layers[layer]
    return (choice.train_bias or item.kind == "linear") and not item.shared


def layer_spec(layer: Layer) -> _C.LayerSpec:
    """The native description of one layer, frozen."""
    spec = _C.LayerSpec()
    spec.name = layer.name
    spec.shape = conv_shape(layer)
    spec.kind = _KINDS.get(layer.kind, _C.LayerKind.convolution)
    spec.activation = layer.activation
    spec.has_bias = layer.tensors.bias is not None
    spec.has_norm = layer.tensors.var is not None
    spec.eps = layer.eps
    spec.shared = layer.shared
    return spec


def conv_program(
    conv: nn.Conv2d, name: str, x: torch.Tensor, selected: int, trains: bool
) -> tuple[_C.ProgramSpec, Value]:
    """A program of one convolution for images like ``x``, and its output."""
    with torch.no_grad():
        meta = torch.empty(1, *x.shape[1:], device="meta", dtype=x.dtype)
        weight = torch.empty(conv.weight.shape, device="meta", dtype=x.dtype)
        out = nn.functional.conv2d(meta, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    source = Value(x.shape[2], x.shape[3], x.shape[1])
    output = Value(out.shape[2], out.shape[3], out.shape[1])
    window = module_window(conv)
    assert window is not None
    kind = convolution_kind(window, conv.in_channels, conv.out_channels)
    tensors = module_tensors(conv, name)
    layer = layer_spec(Layer(name, kind, None, _C.Activation.identity, source, output, tensors, window))
    layer.selected = selected if trains else 0
    layer.train_bias = trains
    op = _C.OpSpec()
    op.kind = _C.OpKind.depthwise if kind == "depthwise" else _C.OpKind.conv
    op.inputs, op.output, op.layers = [0], 1, [0]
    spec = _C.ProgramSpec()
    spec.values = [_C.ValueSpec(v.height, v.width, v.channels) for v in (source, output)]
    spec.layers, spec.ops = [layer], [op]
    spec.input, spec.output, spec.batch = 0, 1, max(1, x.shape[0])
    return spec, output


class SpecFactory:
    """Makes program specifications for many choices from one graph (a planner asks for hundreds)."""

    def __init__(self, graph: Graph, model: nn.Module) -> None:
        self.graph = graph
        self.itemsize = next(model.parameters()).element_size()
        self.first = graph.native_begin
        self.ops = graph.ops[self.first :]
        used = sorted(set(graph.layers_from(self.first)))
        self.layer_ids = {layer: i for i, layer in enumerate(used)}
        # Assigning to a native spec copies, so one frozen description per layer serves every choice.
        self._layers = {layer: layer_spec(graph.layers[layer]) for layer in used}
        (source,) = graph.crossing(self.first)
        live = sorted({source} | {op.output for op in self.ops})
        self.value_ids = {v: i for i, v in enumerate(live)}
        self._values = [_value_spec(graph, v) for v in live]
        self._source = source
        self._specs: dict[tuple[int, tuple[int, int, int, str, int]], _C.OpSpec] = {}

    def make(self, choice: Choice) -> _C.ProgramSpec:
        """The specification that realises ``choice``."""
        spec = _C.ProgramSpec()
        spec.values = self._values
        span = set(self.graph.layers_from(choice.begin))
        layers = []
        for layer, item in self._layers.items():
            item.selected = choice.selected.get(layer, 0) if layer in span else 0
            item.train_bias = layer in span and trains_bias(self.graph, layer, choice)
            layers.append(item)
        spec.layers = layers
        spec.ops = [self._op(i, choice) for i in range(self.first, len(self.graph.ops))]
        spec.input, spec.output = self.value_ids[self._source], self.value_ids[self.graph.output]
        spec.span_begin = choice.begin - self.first
        spec.batch = choice.batch
        spec.momentum, spec.normalise = choice.momentum, choice.normalise
        spec.sums, spec.scores, spec.loss = choice.sums, choice.scores, choice.loss
        spec.scope, spec.pictures = getattr(_C.Scope, choice.scope), choice.pictures
        spec.streams = [_C.StreamSpec(a - self.first, b - self.first) for a, b in choice.pieces.streams]
        return spec

    def shape(self, layer: int) -> _C.ConvShape:
        """The native geometry of a layer."""
        return self._layers[layer].shape

    def _op(self, index: int, choice: Choice) -> _C.OpSpec:
        """The native description of one op, made once for each way to run it."""
        pieces = choice.pieces
        way = (
            choice.blocks.get(index, 2 * _C.PANEL),
            pieces.rows.get(index, 0),
            pieces.columns.get(index, 0),
            pieces.keeps.get(index, "masks"),
            choice.activation_bits,
        )
        if (index, way) not in self._specs:
            self._specs[index, way] = self._make_op(index, *way)
        return self._specs[index, way]

    def _make_op(self, index: int, block: int, rows: int, columns: int, keep: str, bits: int) -> _C.OpSpec:
        op = self.graph.ops[index]
        spec = _C.OpSpec()
        assert op.kind is not None
        spec.kind = op.kind
        spec.inputs = [self.value_ids[v] for v in op.inputs]
        spec.output = self.value_ids[op.output]
        spec.layers = [self.layer_ids[layer] for layer in op.layers]
        spec.residual = op.residual
        spec.block, spec.forward_rows, spec.forward_block = block, rows, columns
        spec.keep = getattr(_C.Keep, keep)
        spec.activation = op.activation
        if op.kind == _C.OpKind.activation and _C.is_curve(op.activation):
            spec.bits = bits
        spec.drop = op.drop
        details = op.details
        spec.alpha, spec.beta, spec.groups, spec.map = details.alpha, details.beta, details.groups, details.map
        spec.resampling = getattr(_C.Resampling, details.resampling)
        spec.drop_unit = getattr(_C.DropUnit, details.drop_unit)
        spec.top, spec.left = details.zeros
        spec.reduction = getattr(_C.Reduction, details.reduction)
        spec.scale_h, spec.scale_w = details.scales
        if op.pool is not None:
            spec.window = self._window(index)
            spec.count_padding = op.pool[6]
        return spec

    def _window(self, index: int) -> _C.ConvShape:
        op = self.graph.ops[index]
        assert op.pool is not None
        source, result = self.graph.values[op.inputs[0]], self.graph.values[op.output]
        shape = _C.ConvShape()
        setattr(shape, "in", source.channels)
        shape.out = source.channels
        shape.height, shape.width = source.height, source.width
        shape.out_height, shape.out_width = result.height, result.width
        shape.kernel_h, shape.kernel_w, shape.stride_h, shape.stride_w = op.pool[:4]
        shape.pad_h, shape.pad_w = op.pool[4:6]
        shape.dilation_h, shape.dilation_w = op.details.dilation
        return shape


def _value_spec(graph: Graph, v: int) -> _C.ValueSpec:
    value = graph.values[v]
    return _C.ValueSpec(value.height, value.width, value.channels)
