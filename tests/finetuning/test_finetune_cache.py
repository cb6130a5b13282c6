"""The cache of what the frozen prefix makes of pictures: no bit changes, every picture is read once."""

from __future__ import annotations

import errno
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sparsebp
from networks import residual_network
from PIL import Image
from runs import (
    CLASSES,
    SIDE,
    TEST,
    TRAIN,
    Log,
    assert_same_weights,
    finetune,
    names,
    network,
    pictures,
    torch_first,
    weights_of,
    with_broken,
)
from sparsebp.data import Arrays, Dataset

CACHED: dict[str, dict[str, Any]] = {
    "native prefix": {},
    "no prefix": {"budget": "1MB", "lr": 0.01},
    "dropout in the span": {"model": lambda: network(dropout=0.3)},
    "residual": {"model": lambda: residual_network(0, 4), "budget": 6000},
    "torch prefix": {"model": lambda: torch_first(0.0), "budget": "64KB"},
    "torch prefix, one by one": {"model": lambda: torch_first(0.0), "budget": "64KB", "batch_size": 1},
    "micro-batches": {"budget": "64KB", "micro_batch": 3},
    "mirror images": {"augment": "flip"},
    "slides": {"augment": "slide"},
    "slides, mirror images, broken pictures": {"augment": "slide,flip", "data": with_broken({3, 11}, {66})},
    "slides, erases": {"augment": "slide,erase"},
    "erases, mirror images": {"augment": "erase,flip"},
    "learned pictures rest": {"augment": "flip", "skip_above": 0.3, "rest": 1, "epochs": 3},
    "slides without a prefix": {"augment": "slide", "budget": "1MB", "lr": 0.01},
}


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("kind", CACHED)
def test_a_cache_changes_no_bit(kind: str, place: str, tmp_path: Path) -> None:
    changes = dict(CACHED[kind])
    make = changes.pop("model", network)
    plain = finetune(tmp_path / "plain", make(), **changes)
    cached = finetune(tmp_path / "cached", make(), cache=place, **changes)
    assert_same_weights(weights_of(cached), weights_of(plain))
    assert cached.history == plain.history
    assert len(names(tmp_path / "cached")) == 3


class Counting(Arrays):
    """Knows how often each picture was read."""

    def __init__(self, whole: Arrays) -> None:
        super().__init__(whole.images, whole.labels, whole.title)
        self.read: Counter[int] = Counter()

    def picture(self, index: int) -> Image.Image:
        self.read[index] += 1
        return super().picture(index)


@pytest.mark.parametrize(("augment", "forms"), [("none", 1), ("flip", 2)])
def test_with_a_cache_every_picture_is_read_once_and_its_size_is_told_first(augment: str, forms: int) -> None:
    data, log = Dataset(Counting(pictures(TRAIN, 0)), Counting(pictures(TEST, 1)), CLASSES, ""), Log()
    result = finetune(data=data, cache="memory", augment=augment, observer=log)
    assert isinstance(data.train, Counting)
    assert isinstance(data.test, Counting)
    assert set(data.train.read.values()) == set(data.test.read.values()) == {1}
    shape = sparsebp.convert(network(), result.plan.budget, input_size=(3, SIDE, SIDE)).prefix_shape
    assert shape is not None
    told = (TRAIN + TEST, 4 * (forms * TRAIN + TEST) * math.prod(shape), "memory")
    events = [("caching", done, *told) for done in (0, TRAIN, TRAIN + 64, TRAIN + TEST)]
    assert log.events[: len(events) + 1] == [("planned", 16384, 0, 0), *events]


NO_CACHE: dict[str, tuple[dict[str, Any], str]] = {
    "augmentation": (
        {"augment": "flip,color"},
        "cache: with augment=color,flip a picture .*; only flip, slide and erase go with a cache",
    ),
    "dropout": ({"model": torch_first(), "budget": "64KB"}, "cache: the frozen prefix holds dropout"),
    "two paths": ({"model": residual_network(0, 4), "budget": 5250}, "cache: more than one activation"),
}


@pytest.mark.parametrize("kind", NO_CACHE)
def test_a_cache_is_refused_where_it_would_not_be_the_same(kind: str) -> None:
    changes, reason = NO_CACHE[kind]
    log = Log()
    with pytest.raises(ValueError, match=reason):
        finetune(cache="memory", observer=log, **changes)
    assert log.only("stepped", "caching") == []


def test_a_cache_larger_than_memory_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parts of it together: 20 and 70 pictures of 2 KB each, with 150 KB left."""
    log, real = Log(), Path.read_text

    def read_text(path: Path, *args: Any, **rest: Any) -> str:
        return "MemTotal: 900 kB\nMemAvailable: 150 kB\n" if str(path) == "/proc/meminfo" else real(path, *args, **rest)

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(MemoryError, match=r"cache: the features take .*150\.0 KB of memory are available; .*disk"):
        finetune(cache="memory", observer=log)
    assert log.only("stepped", "saved") == []


def test_a_full_disk_is_noticed_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = Log()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        finetune(tmp_path, cache="disk", observer=log)
    assert log.only("stepped", "saved") == []
    assert names(tmp_path) == set()
