"""The state of reading a trace: which nodes are activations of native code, and the ops found so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from .._C import OpKind
from .layer import Value
from .places import Place, Places, counts_up, value_of
from .raw_op import Details, RawOp
from .shapes import is_value, resolve, shape_of
from .tracing import Traces


class Reader:
    """What readers of single ops share.

    Attributes:
        traces: of the model.
        modules: of the evaluation trace, by name.
        ops: what was read so far.
        values: the size of each activation, by its node.
        places: where the numbers of each node are.
        parameters: the names of the model's.
    """

    def __init__(self, traces: Traces) -> None:
        self.traces = traces
        self.modules: dict[str, nn.Module] = dict(traces.evaluation.named_modules())
        self.ops: list[RawOp] = []
        self.values: dict[fx.Node, Value] = {}
        self.places = Places(traces.images)
        self.parameters = {name for name, _ in traces.evaluation.named_parameters()}
        self._tensors = self.parameters | {name for name, _ in traces.evaluation.named_buffers()}
        self._added, self._count = fx.Graph(), 0  # nodes that the trace does not have
        self._training: dict[str, fx.Node] = {node.name: node for node in traces.training.graph.nodes}

    # -- nodes -----------------------------------------------------------------------------------

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls."""
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def training_node(self, node: fx.Node) -> fx.Node:
        """The same node as training mode runs it."""
        return self._training[node.name]

    def is_tensor(self, node: Any) -> bool:
        """Whether a node is a batch of images of the program's type, in whatever shape."""
        shape = shape_of(node)
        return len(shape) >= 2 and shape[0] == self.traces.images and node.meta["dtype"] == self.traces.dtype

    def is_native(self, node: Any) -> bool:
        """Whether a node's numbers are those of an activation."""
        return isinstance(node, fx.Node) and node in self.places and not self.places.is_parameter(node)

    def begin(self, node: fx.Node, value: Value) -> None:
        """A new activation."""
        self.values[node] = value
        self.places.begin(node, value.count)

    def value(self, node: fx.Node) -> Value:
        """The size of the activation that a node's numbers are of."""
        return self.values[self.places[node].base]

    # -- inputs ----------------------------------------------------------------------------------

    def image(self, node: Any) -> fx.Node | None:
        """The activation that a node is as an image [N, C, H, W], [N, C, L] or [N, C]; one is made where need be."""
        if not self.is_native(node) or not self.is_tensor(node):
            return None
        value = value_of(shape_of(node))
        if value is None:
            return None
        base = self.places[node].base
        if self.places.in_order(node):
            if value == self.values[base]:
                return base
            return self._moved(node, base, value, OpKind.reshape, Details())
        index = self.places.of_one_image(node)
        if index is None:
            return None
        return self._dealt(node, base, value, index.reshape(value.channels, -1))

    def is_image(self, node: Any) -> bool:
        """Whether :meth:`image` has one."""
        if not self.is_native(node) or not self.is_tensor(node) or value_of(shape_of(node)) is None:
            return False
        return self.places.in_order(node) or self.places.of_one_image(node) is not None

    def _dealt(self, node: fx.Node, base: fx.Node, value: Value, index: torch.Tensor) -> fx.Node:
        """An image whose channels' numbers [C, pixels] are those at ``index`` of another one."""
        source = self.values[base]
        pixels = source.height * source.width
        if (value.height, value.width) == (source.height, source.width):
            channels = index[:, 0] // pixels
            if torch.equal(index, channels[:, None] * pixels + torch.arange(pixels)):
                return self._moved(node, base, value, OpKind.channels, Details(map=tuple(channels.tolist())))
        # As numbers lie in memory: pixel after pixel.
        places = (index % pixels * source.channels + index // pixels).t().reshape(-1)
        return self._moved(node, base, value, OpKind.gather, Details(map=tuple(places.tolist())))

    def _moved(self, node: fx.Node, base: fx.Node, value: Value, kind: OpKind, details: Details) -> fx.Node:
        made = node if node is not base else self.another(node)
        self.ops.append(RawOp(kind, (base,), made, value, details=details, where=str(node.meta.get("owner", ""))))
        self.begin(made, value)
        self.places.follow(node, Place(made))
        return made

    def another(self, node: fx.Node) -> fx.Node:
        """A node that no trace has, for an activation that is made on the way to ``node``, or of it."""
        made = self._added.create_node("placeholder", f"{node.name}_part_{self._count}")
        made.meta.update(node.meta, stands_for=node.name)
        self._count += 1
        return made

    @property
    def apart(self) -> frozenset[fx.Node]:
        """Nodes of activations whose numbers torch has in another order than [N, C, H, W]."""
        return frozenset(n for n in self.values if self.places[n].index is not None or self.places[n].base is not n)

    def handed_over(self, node: Any) -> fx.Node | None:
        """As :meth:`image`, with its numbers in torch's order: what native code hands over to torch."""
        image = self.image(node)
        if image is None or image is node or self.places[image].index is None:
            return image
        return self._moved(node, image, self.values[image], OpKind.reshape, Details())

    def pixels(self, node: Any) -> fx.Node | None:
        """The activation whose channels are a node's last dimension, and pixels all between that and the first."""
        if not self.is_native(node) or not self.is_tensor(node):
            return None
        place = self.places[node]
        if place.index is None:
            value = self.values[place.base]
            return place.base if value.height == value.width == 1 and len(shape_of(node)) == 2 else None
        value = self.values[place.base]
        index = self.places.index(node)
        if index.dim() < 2 or index.shape[-1] != value.channels or index.numel() != value.count * self.traces.images:
            return None
        return place.base if counts_up(index.movedim(-1, 1).reshape(-1)) else None

    def numbers(self, node: Any) -> fx.Node | None:
        """The activation whose numbers a node has, all of them in whatever order; for ops that do not mind it."""
        if not self.is_native(node) or not self.is_tensor(node):
            return None
        place = self.places[node]
        if place.index is None or place.index.numel() == self.values[place.base].count * self.traces.images:
            return place.base
        return self.image(node)

    def parts(self, node: fx.Node) -> list[fx.Node]:
        """The tensors of a tuple of views, such as ``x.chunk(2, 1)[::-1]``; none if a node is something else."""
        made = []
        for place in self.places.parts(node):
            made.append(self.another(node))
            self.places.follow(made[-1], place)
            made[-1].meta.update(shape=tuple(self.places.index(made[-1]).shape), dtype=self.traces.dtype)
        return made

    # -- results ---------------------------------------------------------------------------------

    def emit(self, kind: OpKind | None, inputs: tuple[fx.Node, ...], node: fx.Node, value: Value, **more: Any) -> None:
        """An op whose result is ``node``, an image in torch's order."""
        self.ops.append(RawOp(kind, inputs, node, value, **more))
        self.begin(node, value)

    def emit_alike(
        self, kind: OpKind, inputs: tuple[fx.Node, ...], node: fx.Node, source: fx.Node, **more: Any
    ) -> None:
        """An op number by number: the result's numbers lie where those of ``source`` do."""
        index = self.places[source].index
        self.emit(kind, inputs, node, self.values[inputs[0]], **more)
        if index is not None:
            self.places.follow(node, Place(node, index))

    def emit_pixels(self, kind: OpKind, inputs: tuple[fx.Node, ...], node: fx.Node, channels: int, **more: Any) -> None:
        """An op pixel by pixel, whose result has its channels in the last dimension as its inputs have."""
        source = self.values[inputs[0]]
        value = Value(source.height, source.width, channels)
        self.emit(kind, inputs, node, value, **more)
        shape = shape_of(node)
        if len(shape) > 2:
            index = torch.arange(self.traces.images * value.count).view(shape[0], channels, *shape[1:-1]).movedim(1, -1)
            self.places.follow(node, Place(node, index))

    # -- arguments -------------------------------------------------------------------------------

    @staticmethod
    def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
        """An argument of a call, with plain values in place of the nodes that compute them."""
        return resolve(node.args[position] if len(node.args) > position else node.kwargs.get(name, default))

    def parameter(self, node: Any) -> str | None:
        """The name of the parameter or buffer that a node is, unchanged; None if it is something else."""
        if not isinstance(node, fx.Node) or not self.places.is_parameter(node) or not self.places.in_order(node):
            return None
        name = str(self.places[node].base.target)
        return name if name in self._tensors else None  # a trace has constants too

    @staticmethod
    def tensors(node: fx.Node) -> tuple[fx.Node, ...]:
        """The tensors that a node reads."""
        return tuple(n for n in node.all_input_nodes if not is_value(n))


def name_of(node: fx.Node) -> str:
    """The name of the traced node whose tensor an activation is."""
    return str(node.meta.get("stands_for", node.name))
