"""The module that ``convert`` returns: called, trained, saved like the original, its span native."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from .. import _C, devices
from ..capture.graph import Graph
from ..capture.torch_prefix import TorchPrefix
from ..capture.torch_tail import TorchTail
from ..planning.plan import Plan
from .autograd import SpanFunction
from .engine import Engine
from .network_runner import NetworkRunner
from .no_gradient import NoGradient


@dataclass(frozen=True)
class Coverage:
    """Share of the weights that have been trained at least once; a pass that only measures gradients counts.

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
        torch_prefix: TorchPrefix | None,
        torch_tail: TorchTail | None,
        plan: Plan,
        engine: Engine,
        rebuild: Callable[..., SparseModel],
    ) -> None:
        super().__init__()
        for table in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            object.__setattr__(self, table, getattr(original, table))
        object.__setattr__(self, "_original", original)
        self.plan = plan
        self._graph = graph
        self._rebuild = rebuild  # makes a copy from what `__reduce__` takes apart
        self._requires_grad = {n: p.requires_grad for n, p in original.named_parameters()}
        self._runner = NetworkRunner(original, graph, torch_prefix, torch_tail, plan, engine)
        self._anchor = torch.zeros((), device="cpu", requires_grad=True)
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
        return self._runner.engine

    @property
    def original(self) -> nn.Module:
        """The module that was converted; it shares every parameter."""
        return cast(nn.Module, self._original)

    @property
    def choice(self) -> dict[str, Any]:
        """What was planned, by the names of layers: plain data, from which the plan is made again without planning."""
        return self.plan.choice.named(self.plan.network)

    def update_set(self, name: str) -> torch.Tensor:
        """Channels of layer ``name`` that this iteration trains, int64 [selected].

        Drawn at a training forward pass, the same until that step's update is done.

        Raises:
            ValueError: no layer of the plan is called so.
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
        engine.marks_gradients = True
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets gradients as in torch, and those summed in the arena."""
        for parameter in self.engine.trained():
            parameter.grad = None  # of native parameters it holds no numbers (no_gradient.py)
        super().zero_grad(set_to_none)
        self.engine.forget_sums(set_to_none)

    def forward(self, x: torch.Tensor) -> Any:
        """[N, C, H, W] -> what the original returns, [N, classes] for example."""
        self._check_modules()
        self._runner.check_input(x)
        self.engine.rebind_if_moved()
        if not (self.training and torch.is_grad_enabled()):
            return self._runner.whole(x, self.training)
        if x.shape[0] > self.plan.batch_size:
            raise ValueError(
                f"x: a training call takes at most batch_size={self.plan.batch_size} images, got {x.shape[0]}; "
                "use sparsebp.fit_step(model, opt, x, y, loss_fn), or convert with a larger batch_size"
            )
        features = self._runner.enter(x, self.training)
        return self.train_span(features, 0)

    def train_span(self, features: torch.Tensor, first: int) -> Any:
        """A training pass from native op ``first`` on, checked by whoever calls it."""
        return self._runner.finish(SpanFunction.apply(self._anchor, self._runner, features, first), self.training)

    @property
    def prefix_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of the one activation that the frozen prefix hands to the span; None if there are several."""
        return self._runner.prefix_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one image: (classes,) or (C, H, W).

        Raises:
            RuntimeError: the network returns something else than one tensor of as many rows as there are images.
        """
        shape = self._runner.output_shape
        if shape is None:
            raise RuntimeError(
                f"output_shape: {type(self.original).__name__} returns more than one tensor of one shape"
            )
        return shape

    @property
    def prefix_is_random(self) -> bool:
        """Whether the frozen prefix holds dropout, so that training passes over one image differ."""
        return self._runner.prefix_is_random

    def run_prefix(self, x: torch.Tensor) -> torch.Tensor:
        """The frozen prefix alone: images [N, C, H, W], any number, to what the span reads, [N, *prefix_shape].

        The result does not change while the model trains, so it may be kept and given to :meth:`run_span` or
        to :func:`sparsebp.fit_step` with ``from_prefix=True`` instead of the images.

        Raises:
            RuntimeError: more than one activation goes into the span.
        """
        self._check_modules()
        self._runner.check_input(x)
        if self.prefix_shape is None:
            raise RuntimeError("run_prefix: more than one activation goes from the prefix into the span of this model")
        self.engine.rebind_if_moved()
        return self._runner.prefix(x, self.training)

    def run_span(self, features: torch.Tensor) -> Any:
        """From :meth:`run_prefix`'s result to the output; for evaluation, nothing is saved for a backward pass."""
        self._check_modules()
        self._runner.check_features(features)
        self.engine.rebind_if_moved()
        return self._runner.span(features, self.training)

    def train(self, mode: bool = True) -> SparseModel:
        """As in torch, but norms keep their pretrained statistics in either mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> SparseModel:
        """``.to()`` and its kin, which would also move what stands in ``.grad``."""
        engine = self.engine
        target = fn(torch.empty(0, dtype=engine.dtype, device=engine.device)).device
        if target != engine.device:
            devices.check(target, engine.dtype, "the model")  # before anything has moved
        for parameter in engine.trained():
            if isinstance(parameter.grad, NoGradient):
                parameter.grad = None
        super()._apply(fn, recurse)
        if target != engine.device:
            engine.rebind_if_moved()
        return self

    def _check_modules(self) -> None:
        if torch.jit.is_tracing():  # type: ignore[attr-defined]
            raise RuntimeError("a converted model cannot be traced or exported; sparsebp.restore(model) can")
        self._runner.check_modules()

    # -- ownership and persistence ---------------------------------------------------------------

    def _own(self) -> None:
        engine = self.engine
        trained = {id(p) for p in engine.trained()}
        for parameter in self._original.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        engine.own_parameters()
        engine.marks_gradients = True

    def _release(self) -> None:
        self.engine.detach()  # the weights move: nothing may reach their old memory
        self.engine.disown_parameters()
        for name, parameter in self._original.named_parameters():
            parameter.data = parameter.data.contiguous()
            parameter.requires_grad_(self._requires_grad.get(name, True))
            parameter.grad = None
        self._runner.release()

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
        state = {
            "engine": self.engine.state(),
            "requires_grad": self._requires_grad,
            "training": self.training,
        }
        return self._rebuild, (self._original, self.plan, self.engine.sampler, state)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()

    def extra_repr(self) -> str:
        p = self.plan
        return (
            f"sparsebp: {len(p.layers)} layers from {p.layers[0].name} train, "
            f"{p.update_ratio:.2%} of the convolution weights a step, {p.peak_bytes:,} of {p.budget:,} bytes"
        )
