"""The module that ``convert`` returns: called, trained, saved like the original, its span native."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from . import _C
from .autograd import SpanFunction
from .engine import Engine, Flight
from .graph import Graph, torch_prefixes
from .plan import Plan
from .refusal import NoGradient


@dataclass(frozen=True)
class Coverage:
    """Share of the weights that have been trained at least once.

    Attributes:
        total: over all convolution weights of the planned layers.
        layers: per planned layer.
    """

    total: float
    layers: dict[str, float]


class SparseModel(nn.Module):
    """A converted network. Make one with :func:`sparsebp.convert`.

    It shares the original's submodules, so ``state_dict()`` has the original's keys and shapes and
    ``load_state_dict`` takes its checkpoints. In training mode with gradients enabled a call takes at most
    ``plan.batch_size`` images; evaluation takes any number, in chunks of that size.

    Attributes:
        plan: what was planned.
    """

    def __init__(
        self,
        original: nn.Module,
        graph: Graph,
        plan: Plan,
        engine: Engine,
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        for table in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            object.__setattr__(self, table, getattr(original, table))
        object.__setattr__(self, "_original", original)
        self.plan = plan
        self._graph = graph
        self._engine: Engine | None = engine
        self._settings = settings
        self._requires_grad = {n: p.requires_grad for n, p in original.named_parameters()}
        # As an attribute of the object, not a submodule: its modules are the original's own.
        object.__setattr__(self, "_torch_prefix", torch_prefixes(graph))
        self._anchor = torch.zeros((), device="cpu", requires_grad=True)
        self._ops = len(graph.ops) - graph.native_begin
        self._span = plan.choice.begin - graph.native_begin
        self._places = self._native_modules()
        self._own()
        self.train(original.training)

    # -- public ----------------------------------------------------------------------------------

    @property
    def arena(self) -> _C.Arena:
        """The block of ``budget`` bytes: ``capacity``, ``used``, ``peak``, ``held`` and ``held_peak`` by category."""
        return self.engine.program.arena

    @property
    def workspace(self) -> _C.Arena:
        """Where inference activations live; no training byte ever does."""
        return self.engine.program.workspace

    @property
    def engine(self) -> Engine:
        """The native program with its state.

        Raises:
            RuntimeError: the model was restored.
        """
        if self._engine is None:
            raise RuntimeError("this model was restored; use the module that sparsebp.restore returned")
        return self._engine

    @property
    def original(self) -> nn.Module:
        """The module that was converted; it shares every parameter."""
        return cast(nn.Module, self._original)

    def update_set(self, name: str) -> torch.Tensor:
        """Channels of layer ``name`` that this iteration trains, int64 [selected].

        Drawn at a training forward pass, the same until that step's update is done.
        """
        return torch.tensor(self.engine.program.indices(self._layer_index(name)), dtype=torch.int64)

    def coverage(self) -> Coverage:
        """Share of the weights visited so far, per layer and in total."""
        done, total, layers = 0.0, 0, {}
        for layer in self.plan.layers:
            seen = self.engine.program.visited(self._layer_index(layer.name)) if self.engine.steps else 0
            layers[layer.name] = seen / layer.channels
            if layer.kind != "linear":
                done += layers[layer.name] * layer.total_weights
                total += layer.total_weights
        return Coverage(done / total if total else 0.0, layers)

    def trained_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that training changes, in network order."""
        self.engine.rebind_if_moved()
        return iter(self.engine.trained())

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As in torch; with ``assign=True`` the new parameters are the ones that train."""
        engine = self.engine
        result = super().load_state_dict(*args, **kwargs)
        engine.own_parameters()
        engine.refuses_gradients = True
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets gradients as in torch, and those summed in the arena."""
        for parameter in self.engine.trained():
            parameter.grad = None  # of native parameters it holds no numbers (refusal.py)
        super().zero_grad(set_to_none)
        for region in self.engine.sum_views():
            region.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> what the original returns, [N, classes] or [N, C', H', W']."""
        self._check_modules()
        self._check_input(x)
        engine = self.engine
        engine.rebind_if_moved()
        if not (self.training and torch.is_grad_enabled()):
            return self._infer(x)
        if x.shape[0] > self.plan.batch_size:
            raise ValueError(
                f"x: a training call takes at most batch_size={self.plan.batch_size} images, got {x.shape[0]}; "
                "use sparsebp.fit_step(model, opt, x, y, loss_fn), or convert with a larger batch_size"
            )
        return SpanFunction.apply(self._anchor, self, self._enter(x), 0)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> SparseModel:
        """As in torch, but the batch norms keep their pretrained statistics in either mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> SparseModel:
        """``.to()`` and its kin, which would also move what stands in ``.grad``."""
        for parameter in self.engine.trained():
            if isinstance(parameter.grad, NoGradient):
                parameter.grad = None
        super()._apply(fn, recurse)
        return self

    # -- passes ----------------------------------------------------------------------------------

    def _check_modules(self) -> None:
        if torch.jit.is_tracing():  # type: ignore[attr-defined]
            raise RuntimeError("a converted model cannot be traced or exported; sparsebp.restore(model) can")
        for siblings, child, module, name in self._places:
            if siblings.get(child) is not module:
                raise RuntimeError(
                    f"{name} was replaced after convert; sparsebp.restore(model) first, change it, and convert again"
                )

    def _check_input(self, x: torch.Tensor) -> None:
        c, h, w = self.plan.input_size
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"x: expected a tensor [N, {c}, {h}, {w}], got {type(x).__name__}")
        if x.dim() != 4 or tuple(x.shape[1:]) != (c, h, w):
            raise ValueError(
                f"x: expected [N, {c}, {h}, {w}] as planned, got {list(x.shape)}; "
                "for another size convert with input_size=(C, H, W)"
            )
        if x.layout != torch.strided:
            raise TypeError(f"x: expected a dense tensor, got layout {x.layout}")
        if x.dtype != self.engine.dtype:
            raise TypeError(f"x: expected {self.engine.dtype}, got {x.dtype}")
        if x.device.type != "cpu":
            raise ValueError(f"x: expected a CPU tensor, got one on {x.device}")
        if x.requires_grad:
            raise ValueError(
                "x: it requires grad, but a converted model has no gradient of its input "
                "(the layers before the span are frozen); pass x.detach()"
            )

    def _enter(self, x: torch.Tensor) -> torch.Tensor:
        """What the first native op reads, NHWC in memory."""
        x = x.detach()
        if self._torch_prefix is not None:
            # Under autocast torch would hand over another type than the program reads.
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                x = self._torch_prefix[self.training](x)
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous()

    def _output(self, images: int) -> torch.Tensor:
        value = self._graph.values[self._graph.output]
        if self._graph.output_is_flat:
            return torch.empty((images, value.channels), dtype=self.engine.dtype, device="cpu")
        shape = (images, value.channels, value.height, value.width)
        return torch.empty(shape, dtype=self.engine.dtype, device="cpu", memory_format=torch.channels_last)

    def _infer(self, x: torch.Tensor) -> torch.Tensor:
        features, y = self._enter(x), self._output(x.shape[0])
        step = self.plan.batch_size
        for i in range(0, x.shape[0], step):
            part = features[i : i + step]
            self.engine.infer(0, self._ops, part.data_ptr(), y[i].data_ptr(), part.shape[0], self.training)
        return y

    def _prefix(self, x: torch.Tensor) -> torch.Tensor:
        """The frozen prefix on a whole batch: what the span reads, [N, C, H, W] in NHWC memory."""
        features = self._enter(x)
        if self._span == 0:
            return features
        (boundary,) = self._graph.crossing(self.plan.choice.begin)
        value = self._graph.values[boundary]
        shape = (x.shape[0], value.channels, value.height, value.width)
        out = torch.empty(shape, dtype=self.engine.dtype, device="cpu", memory_format=torch.channels_last)
        step = self.plan.batch_size
        for i in range(0, x.shape[0], step):
            part = features[i : i + step]
            self.engine.infer(0, self._span, part.data_ptr(), out[i].data_ptr(), part.shape[0], self.training)
        return out

    def _single_boundary(self) -> bool:
        """Whether prefix and span are joined by one activation, so that they can run apart."""
        return len(self._graph.crossing(self.plan.choice.begin)) == 1

    def _train_forward(self, x: torch.Tensor, first: int) -> tuple[torch.Tensor, Flight]:
        y = self._output(x.shape[0])
        flight = self.engine.forward(first, self._ops, x.data_ptr(), y.data_ptr(), x.shape[0])
        return y, flight

    def _train_backward(self, flight: Flight, dy: torch.Tensor) -> None:
        dy = dy.contiguous(memory_format=torch.channels_last) if dy.dim() == 4 else dy.contiguous()
        self.engine.backward(flight, dy.data_ptr(), 0)

    # -- ownership and persistence ---------------------------------------------------------------

    def _native_modules(self) -> list[tuple[dict[str, Any], str, nn.Module, str]]:
        """Where the modules of native layers stand: their parent's table, key and module, and the full name."""
        out = []
        for index in sorted({i for op in self._graph.ops[self._graph.native_begin :] for i in op.layers}):
            layer = self._graph.layers[index]
            for name in filter(None, (layer.name, layer.norm)):
                parent, _, child = name.rpartition(".")
                siblings = self._original.get_submodule(parent)._modules
                out.append((siblings, child, self._original.get_submodule(name), name))
        return out

    def _own(self) -> None:
        engine = self.engine
        trained = {id(p) for p in engine.trained()}
        for parameter in self._original.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        engine.own_parameters()
        engine.refuses_gradients = True

    def _release(self) -> None:
        self.engine.detach()  # the weights move: nothing may reach their old memory
        self.engine.disown_parameters()
        for name, parameter in self._original.named_parameters():
            parameter.data = parameter.data.contiguous()
            parameter.requires_grad_(self._requires_grad.get(name, True))
            parameter.grad = None
        self._engine = None

    def _layer_index(self, name: str) -> int:
        names = [spec.name for spec in self.engine.specs]
        if name not in {layer.name for layer in self.plan.layers}:
            planned = ", ".join(layer.name for layer in self.plan.layers)
            raise ValueError(f"{name!r} is not trained by this plan; it trains {planned}")
        return names.index(name)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "_original" not in self.__dict__:
                raise
            return getattr(self.__dict__["_original"], name)

    def __reduce__(self) -> tuple[Any, ...]:
        from .convert import _rebuild

        state = {
            "engine": self.engine.state(),
            "requires_grad": self._requires_grad,
            "training": self.training,
        }
        return _rebuild, (self._original, self._settings, state)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()

    def extra_repr(self) -> str:
        p = self.plan
        return (
            f"sparsebp: {len(p.layers)} layers from {p.layers[0].name} train, "
            f"{p.update_ratio:.2%} of the convolution weights a step, {p.peak_bytes:,} of {p.budget:,} bytes"
        )
