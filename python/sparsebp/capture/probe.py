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

_IMAGES = 2  # of a batch that a model is tried on
#: Relative difference of two runs of one network: of the same ops, and of the same image in another batch.
_SAME, _ROUNDING = 1e-4, 1e-3


def probe(images: int, input_size: tuple[int, int, int], like: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Random images, always the same, of the type and on the device of ``like``."""
    generator = torch.Generator("cpu").manual_seed(seed)
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


def run_both(model: nn.Module, evaluation: fx.GraphModule, x: torch.Tensor, third: torch.Tensor) -> torch.Tensor | None:
    """Runs ``model`` and its ``evaluation`` trace, whose nodes get shapes and values.

    The model gets two images, the trace the second of them at the first place and a third one beside it: if both return
    the same for it, the trace was not misread, and what is returned for an image depends neither on its place nor on
    its neighbours. Always two images, since torch's convolutions keep memory for each size of a batch.

    Args:
        x: two images.
        third: another one.

    Returns:
        What the model returned for ``x``; None if that is no tensor, or random.

    Raises:
        UnsupportedModel: the model does not take ``x``, mixes its images, or does not do what its trace does.
    """
    kind = type(model).__name__

    def seeded(run: Callable[[], Any]) -> Any:
        torch.manual_seed(0)
        return run()

    def traced(images: torch.Tensor) -> Any:
        try:
            with redirect_stderr(io.StringIO()):  # torch.fx prints where it was when something is raised
                return seeded(lambda: record(evaluation, images))
        except Exception as error:
            raise UnsupportedModel(f"{kind} cannot be followed by torch.fx: its trace fails, {error}") from error

    with torch.no_grad():
        try:
            before = seeded(lambda: random_state(x.device))
            expected = seeded(lambda: model(x.clone()))
            draws = not torch.equal(before, random_state(x.device))
        except Exception as error:
            raise UnsupportedModel(f"{kind} does not accept an input of size {tuple(x.shape)}: {error}") from error
        if isinstance(expected, torch.Tensor):
            expected = expected.clone()  # it may be memory of the model
        moved = traced(torch.cat([x[1:], third]))
        if not isinstance(expected, torch.Tensor) or not isinstance(moved, torch.Tensor):
            return None  # refused later, by what it returns
        if not draws and _same_image(expected, moved, _SAME):
            return expected
        if not close(traced(x.clone()), expected, _SAME):
            raise UnsupportedModel(
                f"{kind} cannot be followed by torch.fx: as traced it computes something else. Its forward may depend "
                "on what a trace cannot see, such as attributes that it changes"
            )
    if draws:
        return None
    if not _same_image(expected, moved, _ROUNDING):
        raise UnsupportedModel(
            f"{kind} mixes the images of a batch in evaluation mode: what it returns for one depends on the others. "
            "A batch norm without running statistics does so; expected a model that takes images one by one"
        )
    return expected


def _same_image(first: torch.Tensor, second: torch.Tensor, tolerance: float) -> bool:
    """Whether for the last image of one batch was returned what was for the first image of another."""
    if any(y.dim() == 0 or len(y) != _IMAGES for y in (first, second)):
        return False
    return close(first[1:], second[:1], tolerance)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by at most ``tolerance``, relative to the norm of the second."""
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    finite = a.isfinite() & b.isfinite()
    difference = (a - b)[finite].norm()
    same = bool((a.isfinite() == b.isfinite()).all())
    return same and bool(difference <= tolerance * b[finite].norm())
