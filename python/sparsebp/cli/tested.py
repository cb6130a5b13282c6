"""Which pictures ``sparsebp evaluate`` tests: those held out from training, or all of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data import DEFAULT_TEST_SHARE, Dataset, Levels, Source, open_tests
from ..data.dataset import known_pictures, listed
from ..data.folders import spelt
from ..finetuning.trained_on import TrainedOn, split_rule


@dataclass(frozen=True)
class Tested:
    """Pictures to test weights on.

    Attributes:
        dataset: where they are from.
        source: the pictures.
        classes: names of the classes that the weights tell apart.
        labels: the weights' label of each label of the source, int64 [classes of the source].
        what: which pictures these are, in words.
        learned: how many of them the weights were trained on, as far as that can be told.
    """

    dataset: Dataset
    source: Source
    classes: tuple[str, ...]
    labels: torch.Tensor
    what: str
    learned: int


def choose_pictures(
    data: Path,
    known: Mapping[str, Any],
    source: str,
    *,
    every: bool,
    test_share: float | None,
    seed: int | None,
    levels: Levels | None,
) -> Tested:
    """Opens what is to be tested.

    Args:
        data: the path.
        known: what the file of weights says of itself.
        source: what messages call that file.
        every: all pictures, whatever they were for.
        test_share, seed: as on the command line: which share is held out; 1 is all.
        levels: black and white of pictures with more than 8 bits; None for what suits them.

    Raises:
        ValueError, FileNotFoundError, NotADirectoryError, ImportError: something cannot be used.
    """
    every = every or test_share == 1
    trained_on = TrainedOn.read(known, source)
    dataset = open_tests(
        data,
        test_share=DEFAULT_TEST_SHARE if every else _share(test_share, known),
        seed=int(known.get("seed", 0)) if seed is None else seed,
        split=split_rule(known),
        levels=levels,
    )
    held_out = dataset.split is not None and trained_on is not None and "split" in known and trained_on.is_of(dataset)
    if held_out and trained_on is not None:
        dataset = dataset.keeping(trained_on.learned)
    asked = test_share is not None or seed is not None
    elsewhere = dataset.split is not None and trained_on is not None and not held_out and not asked
    count, held = len(dataset.everything), len(dataset.test)
    if every:
        what = f"all {count:,} pictures"
    elif elsewhere:
        what = f"all {count:,} pictures, as none of this folder was held out from training"
    elif dataset.split is None:
        what = f"the {held:,} pictures of its test set, not the {count - held:,} others; --all tests these too"
    else:
        what = f"{held:,} of {count:,} pictures, which are held out; --all tests the others too"
    pictures = dataset.everything if every or elsewhere else dataset.test
    if len(pictures) == 0:
        raise ValueError(f"--data: there is nothing to test with in {data}; --all tests what is there to train on, too")
    classes = tuple(known.get("classes") or dataset.classes)
    learned = known_pictures(pictures, trained_on.learned) if trained_on is not None else 0
    return Tested(dataset, pictures, classes, _labels(dataset, pictures, classes, data), what, learned)


def _share(given: float | None, known: Mapping[str, Any]) -> float:
    return float(known.get("test_share", DEFAULT_TEST_SHARE)) if given is None else given


def _labels(dataset: Dataset, pictures: Source, classes: Sequence[str], data: Path) -> torch.Tensor:
    """Classes are known by their names, so that some may be missing and their order may be another."""
    number = {spelt(name): label for label, name in enumerate(classes)}
    present = {dataset.classes[label] for label in set(pictures.labels.tolist())}
    unknown = [name for name in dataset.classes if name in present and spelt(name) not in number]
    if unknown:
        raise ValueError(
            f"--data: the weights were not trained on {listed(unknown)}, which {data} has; they tell "
            f"{listed(classes)} apart"
        )
    return torch.tensor([number.get(spelt(name), -1) for name in dataset.classes])
