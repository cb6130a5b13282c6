"""What the tool does where torchrun started several of it: one of them speaks for all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..distributed import RankFailed, Ranks, join, launched
from ..distributed.alone import Alone
from .options import parse_device


@contextmanager
def company(device: str, timeout: float) -> Iterator[Ranks | Alone]:
    """The ranks that torchrun started, or one process alone; inside, all but the first are silent.

    Where the first rank is gone without a word, the first of those that are left says so; where it took along what the
    others would learn that from, each of them does.

    Args:
        device: as on the command line.
        timeout: seconds that a rank waits for the others.
    """
    if not launched():
        yield Alone()
        return
    streams = sys.stdout, sys.stderr
    with join(own_device(device), timeout) as ranks:
        if not ranks.first:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
        try:
            yield ranks
        except RankFailed as failed:
            left = set(range(ranks.size)) - set(failed.ranks)
            if not failed.ranks or (0 in failed.silent and ranks.rank == min(left)):
                sys.stdout.close()
                sys.stdout, sys.stderr = streams
            raise


def own_device(name: str) -> torch.device:
    """A rank's device: where all are told ``cuda``, each takes the GPU of its number on this machine."""
    device = parse_device(name)
    if device.type == "cuda" and launched():
        if device.index is None:
            device = parse_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(device)
    return device
