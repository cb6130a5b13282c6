"""The ways through a converted network: torch before the native ops, frozen prefix, span, torch after them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .._C import OpKind
from ..capture.graph import Graph
from ..capture.torch_prefix import TorchPrefix
from ..capture.torch_tail import TorchTail
from ..planning.plan import Plan
from .engine import Engine
from .forward_pass import ForwardPass
from .module_check import Intact


class NetworkRunner:
    """Runs a planned graph on its engine.

    Args:
        model: the network.
        graph: the whole of it.
        torch_prefix: what torch runs before the native ops, if anything.
        torch_tail: what torch runs after them, if anything.
        plan: where the span begins.
        engine: the native program of the graph's native ops.

    Attributes:
        span_begin: the native op with which the span begins.
        prefix_shape: (C, H, W) of the one activation between prefix and span; None if there are several.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        torch_prefix: TorchPrefix | None,
        torch_tail: TorchTail | None,
        plan: Plan,
        engine: Engine,
    ) -> None:
        self._graph = graph
        self._plan = plan
        self._engine: Engine | None = engine
        self._torch_prefix = torch_prefix
        self._torch_tail = torch_tail
        parts = [part.nodes for part in (torch_prefix, torch_tail) if part is not None]
        self._intact = Intact(model, graph, frozenset().union(*parts))
        self._ops = len(graph.ops) - graph.native_begin
        self._dropouts = _dropouts(model, graph)
        self.span_begin = plan.choice.begin - graph.native_begin
        self.prefix_shape = self._boundary()

    @property
    def engine(self) -> Engine:
        """The native program with its state; raises RuntimeError after :meth:`release`."""
        if self._engine is None:
            raise RuntimeError("this model was restored; use the module that sparsebp.restore returned")
        return self._engine

    def release(self) -> None:
        """The weights move: nothing may reach their old memory."""
        self._engine = None

    def check_modules(self) -> None:
        """Raises RuntimeError if the network's modules are no longer what was converted."""
        self._intact.check()

    # -- shapes ----------------------------------------------------------------------------------

    def _boundary(self) -> tuple[int, int, int] | None:
        crossing = self._graph.crossing(self._plan.choice.begin)
        if len(crossing) != 1:
            return None
        value = self._graph.values[crossing.pop()]
        return value.channels, value.height, value.width

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """Shape of the output for one image; None if that is not one tensor."""
        return self.native_shape if self._torch_tail is None else self._torch_tail.output_shape

    @property
    def native_shape(self) -> tuple[int, ...]:
        """Shape of what the native ops make for one image."""
        value = self._graph.values[self._graph.output]
        return (value.channels,) if self._graph.output_is_flat else (value.channels, value.height, value.width)

    @property
    def whole_step(self) -> bool:
        """Whether the budget covers activations too."""
        return self._plan.whole_step

    @property
    def prefix_is_random(self) -> bool:
        """Whether the prefix drops values at random in training mode."""
        native = self._graph.ops[self._graph.native_begin : self._plan.choice.begin]
        return any(op.drop > 0 for op in native) or (self._torch_prefix is not None and self._torch_prefix.random)

    @property
    def torch_is_random(self) -> bool:
        """Whether what runs in torch drops values at random in training mode, before the native ops or after them."""
        return any(part is not None and part.random for part in (self._torch_prefix, self._torch_tail))

    def check_input(self, x: torch.Tensor) -> None:
        """Raises TypeError or ValueError unless ``x`` is an image batch as planned."""
        size = self._plan.input_size
        expected = f"[N, {', '.join(map(str, size))}]"
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"x: expected a tensor {expected}, got {type(x).__name__}")
        if x.dim() != 1 + len(size) or tuple(x.shape[1:]) != size:
            raise ValueError(
                f"x: expected {expected} as planned, got {list(x.shape)}; "
                "for another size convert with input_size=(C, H, W)"
            )
        self._check_memory("x", x)
        if x.requires_grad:
            raise ValueError(
                "x: it requires grad, but a converted model has no gradient of its input "
                "(the layers before the span are frozen); pass x.detach()"
            )

    def check_features(self, x: torch.Tensor) -> None:
        """Raises TypeError or ValueError unless ``x`` looks like what :meth:`prefix` returns."""
        shape = self.prefix_shape
        if shape is None:
            raise RuntimeError("more than one activation goes from the frozen prefix into the span of this model")
        if not isinstance(x, torch.Tensor) or x.dim() != 4 or tuple(x.shape[1:]) != shape:
            got = list(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(f"x: expected [N, {', '.join(map(str, shape))}] as run_prefix returns it, got {got}")
        self._check_memory("x", x)

    def _check_memory(self, name: str, x: torch.Tensor) -> None:
        if x.layout != torch.strided:
            raise TypeError(f"{name}: expected a dense tensor, got layout {x.layout}")
        if x.dtype != self.engine.dtype:
            raise TypeError(f"{name}: expected {self.engine.dtype}, got {x.dtype}")
        if x.device != self.engine.device:
            raise ValueError(f"{name}: expected a tensor on {self.engine.device} like the model, got one on {x.device}")

    # -- passes ----------------------------------------------------------------------------------

    def enter(self, x: torch.Tensor, training: bool) -> torch.Tensor:
        """From images to what the first native op reads, NHWC in memory."""
        x = x.detach()
        if self._torch_prefix is not None:
            # In the planned size: the bits of torch's convolutions depend on how many images go together.
            run, step = self._torch_prefix, self._plan.batch_size
            x = run(x, training) if len(x) <= step else torch.cat([run(part, training) for part in x.split(step)])
        return _native(x)

    def prefix(self, x: torch.Tensor, training: bool) -> torch.Tensor:
        """From images to what the span reads, where that is one activation."""
        features, shape = self.enter(x, training), self.prefix_shape
        assert shape is not None
        if self.span_begin == 0:
            return features
        out = self._empty((x.shape[0], *shape))
        self._infer(0, self.span_begin, features, out, training)
        return out

    def finish(self, y: torch.Tensor, training: bool) -> Any:
        """From what the native ops made to the output."""
        return y if self._torch_tail is None else self._torch_tail(y, training)

    def whole(self, x: torch.Tensor, training: bool) -> Any:
        """From images to the output, saving nothing."""
        return self._to_output(0, self.enter(x, training), training)

    def span(self, features: torch.Tensor, training: bool) -> Any:
        """From what :meth:`prefix` returned to the output, saving nothing."""
        return self._to_output(self.span_begin, _native(features), training)

    def forward(self, x: torch.Tensor, first: int) -> tuple[torch.Tensor, ForwardPass]:
        """A training pass of the native ops from op ``first`` on."""
        x = _native(x)
        y = self._empty((x.shape[0], *self.native_shape))
        drop = self._drops(training=True)
        return y, self.engine.forward(first, self._ops, x.data_ptr(), y.data_ptr(), x.shape[0], drop)

    def backward(self, forward_pass: ForwardPass, dy: torch.Tensor) -> None:
        """The backward pass, which is also the update."""
        dy = _native(dy)  # alive while its address is in use
        self.engine.check_incoming(forward_pass, dy)
        self.engine.backward(forward_pass, dy.data_ptr(), 0)

    @property
    def computes_loss(self) -> bool:
        """Whether :meth:`train_batch` can be called."""
        engine = self.engine
        return self._plan.choice.loss and engine.dtype == torch.float32 and engine.device.type == "cpu"

    def train_batch(
        self,
        x: torch.Tensor,
        first: int,
        labels: torch.Tensor,
        smoothing: float,
        skip_above: float,
        finish: bool,
        learned: torch.Tensor | None,
    ) -> tuple[float, int]:
        """A step on what op ``first`` reads, loss included; the mean loss, and how many images trained.

        Without ``finish`` the update is left to the caller. ``learned``, bool [N], takes which images did not train.
        """
        x, labels = _native(x), labels.to(torch.int32).contiguous()
        logits = self._empty((self._plan.batch_size, *self.native_shape))
        drop = self._drops(training=True)
        addresses = labels.data_ptr(), logits.data_ptr()
        where = 0 if learned is None else learned.data_ptr()
        return self.engine.train_batch(
            first, x.data_ptr(), len(x), *addresses, smoothing, skip_above, drop, finish, where
        )

    def _to_output(self, first: int, x: torch.Tensor, training: bool) -> Any:
        y = self._empty((x.shape[0], *self.native_shape))
        self._infer(first, self._ops, x, y, training)
        return self.finish(y, training)

    def _drops(self, training: bool) -> bool:
        """Whether native dropouts drop: as their modules are set, which parts of a model may be apart."""
        modes = {m.training for m in self._dropouts} or {training}
        if len(modes) > 1:
            raise RuntimeError("some dropout layers are in training mode and some are not; native ones drop together")
        return modes.pop()

    def _infer(self, first: int, last: int, x: torch.Tensor, y: torch.Tensor, training: bool) -> None:
        step, begin = self._plan.batch_size, self._graph.native_begin
        drop = self._drops(training) and any(op.drop > 0 for op in self._graph.ops[begin + first : begin + last])
        for i in range(0, x.shape[0], step):
            part = x[i : i + step]
            self.engine.infer(first, last, part.data_ptr(), y[i].data_ptr(), part.shape[0], drop)

    def _empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        return torch.empty(shape, dtype=self.engine.dtype, device=self.engine.device, memory_format=layout)


def _dropouts(model: nn.Module, graph: Graph) -> list[nn.Module]:
    names = [op.where for op in graph.ops[graph.native_begin :] if op.kind == OpKind.dropout and op.drop > 0]
    modules = (model.get_submodule(name) for name in names)
    return [m for m in modules if isinstance(m, nn.Dropout)]  # a function goes with the whole model


def _native(x: torch.Tensor) -> torch.Tensor:
    """As native code reads it: channels last; a signal [N, C, L] is an image of one row."""
    x = x.unsqueeze(2) if x.dim() == 3 else x
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous()
