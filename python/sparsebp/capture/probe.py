"""Running a model on random images: what it returns, and whether its trace does the same."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import fx, nn

from ..errors import UnsupportedModel
from .precision import exact_float32
from .preserve import random_state, seed_random
from .shapes import record

_IMAGES = 2  # of a batch that a model is tried on
#: Relative difference of two runs of one network: of the same ops, and of the same image in another batch.
_SAME, _ROUNDING = 1e-4, 1e-3


def probe(images: int, input_size: tuple[int, ...], like: torch.Tensor, seed: int = 0) -> torch.Tensor:
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


def run_both(
    model: nn.Module, evaluation: fx.GraphModule, x: torch.Tensor, third: torch.Tensor
) -> list[torch.Tensor] | None:
    """Runs ``model`` and its ``evaluation`` trace, whose nodes get shapes and values.

    The model gets two images, the trace the second of them at the first place and a third one beside it: if both return
    the same for it, the trace was not misread, and what is returned for an image depends neither on its place nor on
    its neighbours. Always two images, since torch's convolutions keep memory for each size of a batch.

    Args:
        x: two images.
        third: another one.

    Returns:
        The tensors that the model returned for ``x``; None if they are random.

    Raises:
        UnsupportedModel: the model does not take ``x``, mixes its images, or does not do what its trace does.
    """
    kind = type(model).__name__

    def seeded(run: Callable[[], Any]) -> Any:
        seed_random(x.device)
        return run()

    def traced(images: torch.Tensor) -> Any:
        try:
            with redirect_stderr(io.StringIO()):  # torch.fx prints where it was when something is raised
                return seeded(lambda: record(evaluation, images))
        except Exception as error:
            raise UnsupportedModel(f"{kind} cannot be followed by torch.fx: its trace fails, {error}") from error

    with torch.no_grad(), exact_float32():
        try:
            before = seeded(lambda: random_state(x.device))
            expected = seeded(lambda: model(x.clone()))
            draws = not torch.equal(before, random_state(x.device))
        except Exception as error:
            raise UnsupportedModel(f"{kind} does not accept an input of size {tuple(x.shape)}: {error}") from error
        expected = [tensor.clone() for tensor in tensors_of(expected)]  # they may be memory of the model
        moved = tensors_of(traced(torch.cat([x[1:], third])))
        if not draws and _same_image(expected, moved, _SAME):
            return expected
        if not all_close(tensors_of(traced(x.clone())), expected, _SAME):
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


def _same_image(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor], tolerance: float) -> bool:
    """Whether for the last image of one batch was returned what was for the first image of another."""

    def same(a: torch.Tensor, b: torch.Tensor) -> bool:
        if a.shape != b.shape or a.dim() == 0 or len(a) % _IMAGES:
            return torch.equal(a, b)  # the same for all images
        rows = len(a) // _IMAGES
        return torch.equal(a, b) or close(a[-rows:], b[:rows], tolerance)

    return len(first) == len(second) and all(map(same, first, second))


def tensors_of(returned: Any) -> list[torch.Tensor]:
    """The tensors in what a model returns."""
    if isinstance(returned, torch.Tensor):
        return [returned]
    if isinstance(returned, Mapping):
        returned = list(returned.values())
    elif is_dataclass(returned) and not isinstance(returned, type):
        returned = [getattr(returned, field.name) for field in fields(returned)]
    return [t for part in returned for t in tensors_of(part)] if isinstance(returned, (list, tuple)) else []


def all_close(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], tolerance: float) -> bool:
    """Whether there are as many tensors, each as :func:`close` to its counterpart."""
    return len(ours) == len(theirs) and all(close(a, b, tolerance) for a, b in zip(ours, theirs, strict=True))


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by at most ``tolerance``, relative to the norm of the second."""
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    finite = a.isfinite() & b.isfinite()
    difference = (a - b)[finite].norm()
    same = bool((a.isfinite() == b.isfinite()).all())
    return same and bool(difference <= tolerance * b[finite].norm())
