"""Running a model on random images: what it returns, and whether its trace does the same."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import fx, nn

from ..errors import UnsupportedModel
from .preserve import random_state
from .shapes import record

#: Relative difference of two runs of one network: of the same ops, and of the same image in another batch.
_SAME, _ROUNDING = 1e-4, 1e-3


def probe(images: int, input_size: tuple[int, int, int], like: torch.Tensor) -> torch.Tensor:
    """Random images, always the same, of the type and on the device of ``like``."""
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn((images, *input_size), generator=generator, device="cpu").to(like)


@contextmanager
def without_zeros(model: nn.Module) -> Iterator[None]:
    """Parameters of zeros, as fresh heads often have, are noise meanwhile, always the same.

    Behind a weight of zeros nothing that was misread would show. The noise lies elsewhere: writing into the weights and
    back would tell autograd of a change.
    """
    generator = torch.Generator("cpu").manual_seed(1)
    zeros = [(p, p.detach()) for p in model.parameters() if not p.count_nonzero()]
    try:
        for parameter, memory in zeros:
            noise = torch.randn(parameter.shape, generator=generator, device="cpu")
            parameter.data = torch.empty_like(memory).copy_(noise).div_(10)
        yield
    finally:
        for parameter, memory in zeros:
            parameter.data = memory


def run_both(model: nn.Module, evaluation: fx.GraphModule, x: torch.Tensor) -> torch.Tensor | None:
    """Runs ``model`` and its ``evaluation`` trace, whose nodes get shapes and values.

    Returns:
        What the model returned for ``x``; None if that is no tensor, or random.

    Raises:
        UnsupportedModel: the model does not take ``x``, mixes its images, or does not do what its trace does.
    """
    kind = type(model).__name__

    def seeded(run: Callable[[], Any]) -> Any:
        torch.manual_seed(0)
        return run()

    with torch.no_grad():
        try:
            before = seeded(lambda: random_state(x.device))
            first = seeded(lambda: model(x[:1].clone()))
            draws = not torch.equal(before, random_state(x.device))
            expected = None if draws else _together(first, model(x[1:].clone()))
        except Exception as error:
            raise UnsupportedModel(f"{kind} does not accept an input of size {tuple(x.shape)}: {error}") from error
        try:
            with redirect_stderr(io.StringIO()):  # torch.fx prints where it was when something is raised
                got = seeded(lambda: record(evaluation, x.clone()))
        except Exception as error:
            raise UnsupportedModel(f"{kind} cannot be followed by torch.fx: its trace fails, {error}") from error
        if expected is not None and isinstance(got, torch.Tensor) and close(got, expected, _SAME):
            return expected  # the trace of both is the model for each alone: neither misread nor mixed
        whole = seeded(lambda: model(x.clone()))
    if not isinstance(whole, torch.Tensor) or not isinstance(got, torch.Tensor):
        return None  # refused later, by what it returns
    if not close(got, whole, _SAME):
        raise UnsupportedModel(
            f"{kind} cannot be followed by torch.fx: as traced it computes something else. Its forward may depend on "
            "what a trace cannot see, such as attributes that it changes"
        )
    if draws:
        return None
    if not close(first, whole[:1], _ROUNDING):
        raise UnsupportedModel(
            f"{kind} mixes the images of a batch in evaluation mode: what it returns for one depends on the others. "
            "A batch norm without running statistics does so; expected a model that takes images one by one"
        )
    return whole.clone()  # it may be memory of the model


def _together(first: Any, second: Any) -> torch.Tensor | None:
    """What was returned for two images, one after the other, as one batch; None if it is none."""
    if not all(isinstance(y, torch.Tensor) and y.dim() > 0 and len(y) == 1 for y in (first, second)):
        return None
    return torch.cat([first, second]) if first.shape == second.shape else None


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by at most ``tolerance``, relative to the norm of the second."""
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    finite = a.isfinite() & b.isfinite()
    difference = (a - b)[finite].norm()
    same = bool((a.isfinite() == b.isfinite()).all())
    return same and bool(difference <= tolerance * b[finite].norm())
