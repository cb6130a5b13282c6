"""Which pictures of a folder are held out."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .digests import blake2b

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

BY_NAME, BY_DRAW = "name", "draw"
#: The rules there are: the one in use, and the one of runs that an earlier sparsebp began.
RULES = (BY_NAME, BY_DRAW)
_LAST_NUMBER = re.compile("([0-9]+)[^0-9]*$")
_GOLDEN = 0x9E3779B97F4A7C15
"""The golden ratio without its 1, times 2^64: of all numbers its multiples are spread most evenly."""
_BLOCK = 32


@dataclass(frozen=True)
class Split:
    """How a share of the pictures is held out.

    Attributes:
        share: of each class, about.
        seed: another one holds out others.
        rule: one of :data:`RULES`.
    """

    share: float
    seed: int
    rule: str = BY_NAME

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"split: expected {' or '.join(RULES)}, got {self.rule!r}")

    def divide(self, names: Sequence[str], labels: Integers, learned: Flags) -> tuple[Integers, Integers]:
        """Indices to train on and indices held out.

        Args:
            names: of the pictures, without their class.
            labels: of the pictures.
            learned: those that were trained on before; none of them is held out.
        """
        if self.rule == BY_DRAW:
            held = np.isin(np.arange(len(labels)), _drawn(labels, self.share, self.seed)) & ~learned
        else:
            held = _by_name(names, labels, self.share, self.seed, learned)
        return np.flatnonzero(~held), np.flatnonzero(held)


def _by_name(names: Sequence[str], labels: Integers, share: float, seed: int, learned: Flags) -> Flags:
    """A picture is held out if a number that is made of its name and the seed falls below the share.

    So it does not depend on the others, and none that was trained on is held out when pictures join it. There are two
    exceptions. Of a class of two or more that would have nothing to test with, the picture with the least number is
    held out, until one below the share joins it. Of a class that would have nothing to train on, the one with the
    greatest number trains. ``learned`` makes sure of the rest: a class that had a single picture, or lost its others.
    """
    numbers = np.array([_number(name, seed) for name in names], np.uint64)
    # Compared as whole numbers: as floats the greatest would round up to 1.
    held = (numbers < np.uint64(int(share * 2**64))) & ~learned
    for label in sorted(set(labels.tolist())):
        members = np.flatnonzero(labels == label)
        if held[members].all():
            held[members[numbers[members].argmax()]] = False
        free = members[~learned[members]]
        if len(members) > 1 and len(free) and not held[members].any():
            held[free[numbers[free].argmin()]] = True
    return held


def _number(name: str, seed: int) -> int:
    """Of 64 bits: a hash of the name, but names that count up (``IMG_0001``, ``IMG_0002``, ...) spread evenly.

    A hash alone would leave it to chance how many of twenty pictures are held out: none, or half of them. So the last
    number in the name moves the hash of the rest on by the golden ratio, as long as it is in the same block of numbers:
    names that count up in steps that happen to be near a multiple of the ratio are spread by the blocks' hashes.
    """
    spelt = unicodedata.normalize("NFC", name)  # é is one character or two, perhaps after copying
    stem, extension = os.path.splitext(spelt)
    found = _LAST_NUMBER.search(stem)
    first, last = found.span(1) if found else (len(stem), len(stem))
    block, step = divmod(int(stem[first:last] or 0), _BLOCK)
    rest = f"{seed}\0{block}\0".encode() + os.fsencode(f"{stem[:first]}\0{stem[last:]}\0{extension}")
    start = int.from_bytes(blake2b(rest, digest_size=8).digest(), "big")
    return (start + step * _GOLDEN) % 2**64


def _drawn(labels: Integers, share: float, seed: int) -> Integers:
    """``share`` of every class, to the nearest picture: another set for every number of pictures."""
    held = []
    for label in sorted(set(labels.tolist())):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            count = min(max(round(len(members) * share), 1), len(members) - 1)
            held.append(np.random.default_rng((seed, int(label))).choice(members, count, replace=False))
    return np.concatenate(held) if held else np.empty(0, np.int64)
