"""An independent measurement of training memory, with PyTorch's own means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..optim import SGD
from .fit_step import fit_step
from .sparse_model import SparseModel

LossFunction = Callable[[torch.Tensor, Any], torch.Tensor]


@dataclass(frozen=True)
class Audit:
    """What one training step held.

    Attributes:
        outside_bytes: most tensor bytes alive outside the arena at any moment from the end of the forward
            pass to the end of the step, less parameters, buffers and the batch itself.
        arena_peak: the arena's measured high-water mark; 0 for a module that is not converted.
        predicted_peak: what the plan promised; 0 likewise.
    """

    outside_bytes: int
    arena_peak: int
    predicted_peak: int


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of every storage that an operation returned and that is still alive.

    Saved-tensor hooks alone would miss what a Function keeps on its context; here everything counts that
    exists, whoever holds it.
    """

    def __init__(self, known: Iterable[torch.Tensor], inside: range) -> None:
        super().__init__()
        self._known = {t.untyped_storage()._cdata for t in known}
        self._inside = inside  # addresses of the arena; a tensor there is a view of it
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak: int | None = None  # counted once set to a number

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                key = storage._cdata
                if key not in self._known and storage.data_ptr() not in self._inside:
                    self._live[key] = (StorageWeakRef(storage), storage.nbytes())
        self.sample()
        return result

    def sample(self) -> int:
        """Bytes alive now."""
        self._live = {k: v for k, v in self._live.items() if not v[0].expired()}
        total = sum(size for _, size in self._live.values())
        if self.peak is not None:
            self.peak = max(self.peak, total)
        return total


def audit(model: nn.Module, x: torch.Tensor, y: Any, loss_fn: LossFunction | None = None) -> Audit:
    """Measures what a training step on (x, y) holds outside the arena; the model stays unchanged.

    A converted model runs one step with a learning rate of zero and gets its weights and counters back. Any
    other module runs forward and backward in plain torch, which is what a dense step holds: its
    gradients count, an optimizer's state does not.

    Args:
        model: converted or plain.
        x: [N, C, H, W].
        y: targets for ``loss_fn``.
        loss_fn: cross entropy by default.

    Raises:
        TypeError: an argument is of the wrong kind. What the model itself raises comes through.
        RuntimeError: a forward pass of the converted model still waits for its backward pass.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x: expected a tensor [N, C, H, W], got {type(x).__name__}")
    loss_fn = loss_fn or nn.functional.cross_entropy
    known = [
        *model.parameters(),
        *model.buffers(),
        *(t for t in (x, y) if isinstance(t, torch.Tensor)),
    ]
    training = {m: m.training for m in model.modules()}
    generator = torch.get_rng_state()
    counter = LiveBytes(known, _arena_addresses(model))
    try:
        model.train()
        if isinstance(model, SparseModel):
            _sparse_step(model, x, y, loss_fn, counter)
        else:
            _dense_step(model, x, y, loss_fn, counter)
    finally:
        torch.set_rng_state(generator)
        for module, mode in training.items():
            module.training = mode
    outside = counter.peak or 0
    if isinstance(model, SparseModel):
        return Audit(outside, model.arena.peak, model.plan.peak_bytes)
    return Audit(outside, 0, 0)


def _arena_addresses(model: nn.Module) -> range:
    if not isinstance(model, SparseModel):
        return range(0)
    start = model.arena.address
    return range(start, start + model.arena.capacity)


def _dense_step(model: nn.Module, x: torch.Tensor, y: Any, loss_fn: LossFunction, counter: LiveBytes) -> None:
    parameters = list(model.parameters())
    grads = [p.grad for p in parameters]
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    for p in parameters:
        p.grad = None
    try:
        with counter, torch.enable_grad():
            loss = loss_fn(model(x), y)
            counter.peak = counter.sample()
            loss.backward()
            counter.sample()
    finally:
        for p, grad in zip(parameters, grads, strict=True):
            p.grad = grad
        with torch.no_grad():
            for name, b in model.named_buffers():
                b.copy_(buffers[name])


def _sparse_step(model: SparseModel, x: torch.Tensor, y: Any, loss_fn: LossFunction, counter: LiveBytes) -> None:
    engine = model.engine
    if engine.last_forward is not None and engine.last_forward.open:
        raise RuntimeError(
            "audit: a training forward pass still waits for its backward and would be lost; call loss.backward() "
            "first, or drop its output"
        )
    state = engine.state()
    weights = [(p, p.detach().clone(memory_format=torch.preserve_format)) for p in engine.trained()]
    grads = [(p, p.grad) for p in engine.trained()]
    owner, slots = engine.optimizer, dict(engine.rules.slots)
    kept = (list(owner._engines), list(owner._slots)) if isinstance(owner, SGD) else None
    try:
        opt = SGD(model, lr=0.0)
        with counter:
            if x.shape[0] > model.plan.batch_size:

                def marked(output: torch.Tensor, target: Any) -> torch.Tensor:
                    counter.peak = counter.peak or 0  # the first loss ends the first forward pass
                    return loss_fn(output, target)

                fit_step(model, opt, x, y, marked)
            else:
                with torch.enable_grad():
                    loss = loss_fn(model(x), y)
                    counter.peak = counter.sample()
                    loss.backward()
                opt.step()
                opt.zero_grad()
            counter.sample()
    finally:
        engine.load_state(state)
        for parameter, grad in grads:
            parameter.grad = grad
        with torch.no_grad():
            for parameter, weight in weights:
                parameter.copy_(weight)
        engine._optimizer = None
        if isinstance(owner, SGD) and kept is not None:
            owner._engines, owner._slots = kept
            engine.attach(owner, slots)
