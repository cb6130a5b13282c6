"""What a run looks up before it chooses its settings, and that it goes by the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from runs import CLASSES, SIDE, Log, dataset, finetune, interrupt, network
from sparsebp.data import Arrays, Dataset, Preprocess, parse_augment
from sparsebp.finetuning import cache, checkpoint
from sparsebp.finetuning.facts import facts_of
from sparsebp.finetuning.recipe import Choice
from sparsebp.networks.pretrained import WeightFile

PLAIN = WeightFile({}, {})
TENSORFLOW = Preprocess((64, 64), range=(-1.0, 1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Sized(Arrays):
    """Black pictures of these heights and widths, of two classes in turn."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        super().__init__(np.zeros((len(sizes), 1, 1, 3), np.uint8), np.arange(len(sizes)) % 2)
        self.sizes = sizes

    def picture(self, index: int) -> Image.Image:
        height, width = self.sizes[index]
        return Image.new("RGB", (width, height))


def of_sizes(*sizes: tuple[int, int], classes: tuple[str, ...] = ("ant", "bee")) -> Dataset:
    return Dataset(Sized(*sizes), Sized(*sizes), classes, "pictures of several sizes")


class Told(Log):
    """What was chosen, too."""

    def chosen(self, choices: Sequence[Choice], few: Mapping[str, int]) -> None:
        self.events.append(("chosen", {choice.name: choice.value for choice in choices}, dict(few)))


def test_the_shorter_side_of_a_typical_picture_counts() -> None:
    facts = facts_of(of_sizes((300, 200), (150, 90), (500, 500)), PLAIN, Preprocess((64, 64)), {})
    assert (facts.side, facts.sizes, facts.budget) == (200, (2, 1), 256 * 1024)


@pytest.mark.parametrize(
    ("classes", "mirrored"), [(("ant", "bee"), True), (("0", "10"), False), (("a", "b"), False), (("4", "cat"), True)]
)
def test_names_tell_letters_and_digits(classes: tuple[str, ...], mirrored: bool) -> None:
    assert facts_of(of_sizes((9, 9), (9, 9), classes=classes), PLAIN, TENSORFLOW, {}).mirrored == mirrored


def test_weights_tell_their_padding_and_their_size() -> None:
    known = WeightFile({}, {"preprocess": TENSORFLOW.to_dict()})
    facts = facts_of(dataset(), known, TENSORFLOW, {"budget": "64KB", "scope": "step"})
    assert (facts.odd, facts.known, facts.whole_step, facts.budget) == (True, (64, 64), True, 64 * 1024)
    assert not facts_of(dataset(), PLAIN, Preprocess((64, 64)), {}).odd


def test_a_run_says_what_it_chose_once_and_goes_by_it(tmp_path: Path) -> None:
    log = Told()
    finetune(tmp_path, recipe=True, observer=log)
    (said,) = log.only("chosen")
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    settings = checkpoint.read(newest).facts["settings"]
    assert said[2] == dict.fromkeys(CLASSES, 5)
    assert (said[1]["epochs"], said[1]["input_size"], said[1]["skip_above"]) == (2, SIDE, 0.9)
    assert [settings[name] for name in ("skip_above", "augment")] == [0.9, list(parse_augment(said[1]["augment"]))]


def test_a_preprocess_brings_its_size(tmp_path: Path) -> None:
    log, size = Told(), (SIDE, 24)
    finetune(tmp_path, recipe=True, observer=log, preprocess=Preprocess(size), input_size=size)
    assert log.only("chosen")[0][1]["input_size"] == size


def test_a_run_that_goes_on_chooses_nothing(tmp_path: Path) -> None:
    given: dict[str, Any] = {"recipe": True, "augment": "flip"}
    interrupt(tmp_path, "stepped", 2, **given)
    log = Told()
    finetune(tmp_path, resume=True, recipe=True, observer=log)
    assert log.only("chosen") == []
    assert log.only("epoch ended") == [("epoch ended", 1), ("epoch ended", 2)]


@pytest.mark.parametrize(
    ("free", "folder", "place"),
    [(200, True, "disk"), (199, True, None), (400, False, "memory"), (399, False, None)],
)
def test_a_cache_that_nobody_asked_for_wants_plenty_of_room(
    free: int, folder: bool, place: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda where: SimpleNamespace(free=free))
    monkeypatch.setattr(cache, "_free_memory", lambda: free)
    assert cache.usual_place(100, tmp_path if folder else None) == place


def test_features_are_cached_by_themselves_only_where_settings_are_chosen(tmp_path: Path) -> None:
    for number, (changes, cached) in enumerate(
        [({"recipe": True, "augment": "flip"}, True), ({"recipe": True, "cache": "none"}, False), ({}, False)]
    ):
        log = Told()
        finetune(tmp_path / str(number), model=network(), observer=log, epochs=1, **changes)
        assert bool(log.only("caching")) == cached
