"""A training step as one CUDA graph."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from ..optim import SGD
from .fit_step import check_step, fit_step
from .sparse_model import SparseModel
from .weight_memory import Watch


class GraphedStep:
    """:func:`sparsebp.fit_step` for models on a GPU, its passes replayed as one CUDA graph.

    A step of MobileNetV2 at 128 pixels in 256 KB starts 459 kernels, many of which end before the processor has
    started the next; a graph starts them all at once. Update sets, learning rates and dropout change from replay
    to replay as they do without a graph, and so do the weights. The first calls run without a graph, and so does a
    batch that is no multiple of ``plan.batch_size``. Nobody waits for the GPU: a gradient that is not finite
    raises nothing, its pass changes no weight, and :attr:`finite` tells.

    Args:
        model: converted, on a CUDA device, in training mode.
        opt: the optimizer attached to it.
        loss_fn: maps (output, targets) to the mean loss of a batch, without waiting for the GPU.
        warm_up: calls without a graph.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, or the model is not on a GPU.
    """

    def __init__(
        self,
        model: SparseModel,
        opt: SGD,
        loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        warm_up: int = 3,
    ) -> None:
        if not isinstance(model, SparseModel):
            raise TypeError(f"model: expected what sparsebp.convert returned, got {type(model).__name__}")
        if not isinstance(opt, SGD):
            raise TypeError(f"opt: expected the model's sparsebp.optim.SGD, got {type(opt).__name__}")
        if not callable(loss_fn):
            raise TypeError(f"loss_fn: expected a function of (output, targets), got {type(loss_fn).__name__}")
        if model.engine.device.type != "cuda":
            raise ValueError(f"model: it is on {model.engine.device}; CUDA graphs need model.to('cuda')")
        if isinstance(warm_up, bool) or not isinstance(warm_up, int) or warm_up < 1:
            raise ValueError(f"warm_up: expected a whole number of at least 1, got {warm_up!r}")
        self._model, self._opt, self._loss_fn = model, opt, loss_fn
        self._eager = warm_up
        if opt._not_mine():
            raise ValueError("opt: it also trains parameters that the converted model does not, which a graph cannot")
        self._graph: torch.cuda.CUDAGraph | None = None
        self._program: object = None  # that the graph runs
        self._watch = Watch([])  # what it reads

    @property
    def finite(self) -> bool:
        """Whether the gradients of the last step (in place: of its last part) were finite; waits for the GPU."""
        return not self._model.engine.spoilt

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """A step on images [N, C, H, W] and targets [N, ...]; the mean loss, on the GPU.

        Raises:
            TypeError, ValueError, RuntimeError: as :func:`sparsebp.fit_step`.
        """
        check_step(self._model, self._opt, x, y, self._loss_fn)
        engine, part = self._model.engine, self._model.plan.batch_size
        if self._eager > 0 or len(x) % part != 0 or not isinstance(y, torch.Tensor):
            self._eager -= 1
            return torch.tensor(fit_step(self._model, self._opt, x, y, self._loss_fn), device=engine.device)
        if not self._fits(y):
            self._capture(x[:part], y[:part])
        assert self._graph is not None
        share = part / len(x)
        total = torch.zeros((), device=engine.device)
        engine.rate_scale = 1.0 if engine.sums else share
        self._share.fill_(share if engine.sums else 1.0)
        try:
            for images, targets in zip(x.split(part), y.split(part), strict=True):
                self._x.copy_(images)
                self._y.copy_(targets)
                engine.prepare_replay()
                self._graph.replay()
                engine.replayed()
                engine.images += len(images)
                total += share * self._loss
        finally:
            engine.rate_scale = 1.0
        self._opt.step()
        self._opt.zero_grad()
        return total

    def _fits(self, y: torch.Tensor) -> bool:
        """Whether the graph still reads the right memory."""
        engine = self._model.engine
        same = self._graph is not None and self._program is engine.program
        if not same or engine.weights.moved() or self._watch.moved():
            return False
        return self._y.shape[1:] == y.shape[1:] and self._y.dtype == y.dtype

    def _capture(self, x: torch.Tensor, y: torch.Tensor) -> None:
        engine = self._model.engine
        engine.rebind_if_moved()
        self._x, self._y = x.detach().clone(memory_format=torch.channels_last), y.clone()
        self._share = torch.ones((), device=engine.device)
        before = engine.forwards, engine.pending
        engine.prepare_replay()  # a draw that is due must not become part of the graph
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(engine.device)
        gc.collect()  # whatever owns memory on the GPU should not be freed while the graph is captured
        try:
            with (
                torch.cuda.device(engine.device),
                torch.cuda.graph(graph, stream=torch.cuda.Stream(engine.device), capture_error_mode="thread_local"),
                torch.enable_grad(),
            ):
                loss = self._loss_fn(self._model(self._x), self._y)
                (loss * self._share).backward()
        except BaseException:
            torch.cuda.set_stream(stream)  # where torch is not back on it
            engine.abandon()
            raise
        finally:
            engine.forwards, engine.pending = before  # capturing runs nothing
        self._loss, self._graph, self._program = loss.detach(), graph, engine.program
        tables = [table for m in self._model.modules() for table in (m._parameters, m._buffers)]
        self._watch = Watch([(t, k) for t in tables for k, v in t.items() if v is not None])
