"""Testing a model in plain torch, picture by picture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import torch
from rich.progress import Progress
from torch import nn

from ..data import Loader, Preprocess
from ..data.readable import broken_picture, check_classes
from ..finetuning.evaluation import Evaluation, score
from .console import err, is_terminal
from .mistakes import Mistakes
from .tested import Tested


def run_test(
    model: nn.Module, tested: Tested, preprocess: Preprocess, *, batch: int, workers: int, strict: bool
) -> tuple[Evaluation, Mistakes, list[str]]:
    """What a model gets right, what it gets wrong, and the names of the pictures that could not be read.

    Args:
        model: in evaluation mode, on any device.
        tested: the pictures.
        preprocess: how they become input.
        batch: how many go through at once.
        workers: processes that read them.
        strict: raise of a picture that cannot be read.

    Raises:
        BrokenPicture: with ``strict``.
        ValueError: no picture of a class can be read.
    """
    broken: list[str] = []
    mistakes = Mistakes(tested.source, tested.classes)
    where = next(model.parameters()).device
    count, everything = len(tested.source), tested.dataset.everything
    rows = [list(range(i, min(i + batch, count))) for i in range(0, count, batch)]
    at = torch.empty(0, dtype=torch.int64)  # indices of the pictures that are going through

    def inputs(loader: Loader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        nonlocal at
        with closing(loader(rows)) as batches:
            for found in batches:
                for picture in found.broken:
                    if strict:
                        raise picture
                    err.print(f"skipped: {picture}")
                    broken.append(picture.name)
                at = found.indices
                yield preprocess.normalise(found.images.to(where)), tested.labels[found.labels]

    check_classes(everything, tested.dataset.classes, partial(broken_picture, everything))
    progress = Progress(console=err, transient=True, disable=not is_terminal(sys.stderr))
    with progress, Loader(tested.source, preprocess, workers=workers) as loader:
        task = progress.add_task("test", total=count)
        found = score(
            inputs(loader),
            model,
            len(tested.classes),
            each=lambda done: progress.update(task, completed=done),
            seen=lambda output, labels: mistakes.add(at, labels, output),
        )
    return found, mistakes, broken
