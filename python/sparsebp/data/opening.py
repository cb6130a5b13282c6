"""From a path to a training and a test set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import as_path
from ..units import check_seed
from . import folders
from .dataset import DEFAULT_TEST_SHARE, Dataset, divided, listed
from .levels import Levels
from .sources import Files
from .split import BY_NAME, Split


def open_dataset(
    path: str | Path,
    *,
    test_share: float = DEFAULT_TEST_SHARE,
    seed: int = 0,
    split: str = BY_NAME,
    levels: Levels | tuple[float, float] | None = None,
) -> Dataset:
    """Opens the data set at ``path``: a folder of pictures, or a known data set as its authors give it away.

    It is one of

    - a folder with a folder per class, whose names are the classes' names. Either they lie in ``train/`` and
      ``test/`` (or ``val/``, ``validation/``), or directly in ``path``, and a share of each class is held out;
    - CIFAR-10 as its authors distribute it (binary, Python or Matlab), the ``.tar.gz`` or the unpacked folder, or a
      folder that contains either;
    - a folder with one ``*train.npz`` and one ``*test.npz``. Each holds ``images`` (uint8 [N, H, W, 3] or [N, H, W])
      and ``labels``, or ``jpeg`` (picture files end to end, uint8), ``offsets`` [N + 1] and ``labels``; and
      ``classes``, if the classes have names;
    - a folder with the four files of MNIST or a data set made after it, such as Fashion-MNIST, packed or not.

    Args:
        path: as above.
        test_share: of each class, about, where the data set has no test set of its own.
        seed: another one holds out other pictures.
        split: ``"name"`` holds a picture out or not whatever else is in the folder, so that none moves when others join
            it; ``"draw"`` is what versions before did, which draws anew then.
        levels: black and white of pictures with more than 8 bits a sample; by default what suits those of the folder.

    Raises:
        FileNotFoundError, NotADirectoryError: there is nothing at ``path``, or a file of another kind.
        ValueError: nothing of the above, or something is wrong with it; the message says what.
        ImportError: CIFAR-10's Matlab version without scipy.
    """
    place = as_path(path, "path").expanduser()
    found = _open(place, Split(_share(test_share), check_seed(seed), split), to_train=True)
    _at_least_two(found.classes, place)
    _check_both(found, place)
    return found.surveyed(Levels.parse(levels))


def open_tests(
    path: str | Path,
    *,
    test_share: float = DEFAULT_TEST_SHARE,
    seed: int = 0,
    split: str = BY_NAME,
    levels: Levels | tuple[float, float] | None = None,
) -> Dataset:
    """What :func:`open_dataset` opens, to test on: one class will do, and one of which there is nothing to train on.

    The arguments and what it raises are those of :func:`open_dataset`.
    """
    place = as_path(path, "path").expanduser()
    found = _open(place, Split(_share(test_share), check_seed(seed), split), to_train=False)
    _check_names(found, place)
    return found.surveyed(Levels.parse(levels))


def _share(share: float) -> float:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ValueError(f"test_share: expected a number between 0 and 1, got {share!r}")
    return share


def _open(path: Path, split: Split, to_train: bool) -> Dataset:
    if not path.exists():
        raise FileNotFoundError(f"path: there is no file or folder {path}")
    found = None if _has_only_folders(path) else _open_packed(path)
    if found is not None:
        return found
    if not path.is_dir():
        hint = "; give the folder that holds it" if path.suffix == ".npz" else ""
        raise NotADirectoryError(f"path: expected a folder, or an archive of CIFAR-10; {path} is a file{hint}")
    halves = folders.find_split(path)
    return _one_folder(path, split, to_train) if halves is None else _two_folders(halves, to_train)


def _has_only_folders(path: Path) -> bool:
    """Whether there is nothing but folders, none of which is CIFAR-10's."""
    if not path.is_dir():
        return False
    with os.scandir(path) as entries:
        return all(entry.is_dir() and not entry.name.startswith("cifar-10-") for entry in entries)


def _open_packed(path: Path) -> Dataset | None:
    """The data set at ``path`` if its pictures are no files of their own."""
    from . import cifar, idx, npz  # 0.2 MB that a board with folders does without

    found = cifar.find(path)
    if found is not None:
        train, test, classes, version = cifar.read(*found)
        return Dataset(train, test, classes, f"CIFAR-10 ({version})")
    pair = npz.find(path) if path.is_dir() else None
    if pair is not None:
        return Dataset(*npz.read(*pair), "npz")
    four = idx.find(path) if path.is_dir() else None
    return None if four is None else Dataset(*idx.read(*four), "MNIST files")


def _two_folders(halves: folders.Halves, to_train: bool) -> Dataset:
    train, test = halves.train, halves.test
    inside, tested = folders.class_folders(train), folders.class_folders(test)
    extra = [name for name in tested if name not in inside]
    if extra and to_train:
        raise ValueError(
            f"path: expected the classes of {train} in {test} too, but {listed(extra)} "
            f"{'is' if len(extra) == 1 else 'are'} only in the latter; the former has {listed(list(inside))}"
        )
    if not tested or tested.keys() == set(extra):
        raise ValueError(
            f"path: expected the folders {listed(list(inside))} in {test}, as in {train}; there is none of them. "
            f"Give {train} to have a share of it held out"
        )
    classes = sorted({*inside, *tested})
    pictures = [folders.list_classes(folder, found, classes) for folder, found in ((train, inside), (test, tested))]
    if to_train:
        _check_classes(pictures[0], classes)
    kind = f"a folder per class, in {train.name}/ and {test.name}/"
    if halves.unused:
        kind += f" ({', '.join(f'{name}/' for name in halves.unused)} left alone)"
    return Dataset(pictures[0], pictures[1], tuple(classes), kind)


def _one_folder(path: Path, split: Split, to_train: bool) -> Dataset:
    inside = folders.class_folders(path)
    classes = tuple(inside)
    if not classes:
        raise ValueError(_unrecognised(path))
    whole = folders.list_classes(path, inside, classes)
    if to_train:
        _at_least_two(classes, path)
        _check_classes(whole, classes)
    train, test = divided(whole, split)
    if to_train and len(test) == 0:
        raise ValueError(
            f"path: no class in {path} has more than one picture, so none can be held out to test with; "
            "add pictures, or put them into train/ and test/"
        )
    return Dataset(train, test, classes, "a folder per class", split)


def _check_classes(pictures: Files, classes: Sequence[str]) -> None:
    empty = [name for label, name in enumerate(classes) if not (pictures.labels == label).any()]
    if empty:
        raise ValueError(
            f"path: every folder in {pictures.root} is taken for a class, but there is no picture in {listed(empty)}"
        )


def _check_names(data: Dataset, path: Path) -> None:
    """Raises unless the labels have a name each."""
    if len(set(data.classes)) != len(data.classes):
        raise ValueError(f"path: expected classes of different names in {path}, got {listed(data.classes)}")
    for title, source in (("training", data.train), ("test", data.test)):
        if len(source) and source.labels.max() >= len(data.classes):
            worst = int(source.labels.argmax())
            raise ValueError(
                f"path: expected labels 0 to {len(data.classes) - 1} for {len(data.classes)} classes in the {title} "
                f"set of {path}, got {source.labels[worst]} for {source.name(worst)}"
            )


def _check_both(data: Dataset, path: Path) -> None:
    """Raises unless there is something to learn of each class, and something to test with."""
    _check_names(data, path)
    for title, source in (("training", data.train), ("test", data.test)):
        if len(source) == 0:
            raise ValueError(f"path: there is no picture in the {title} set of {path}")
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    empty = [name for name, count in zip(data.classes, counts, strict=True) if count == 0]
    if empty:
        raise ValueError(f"path: there is no picture of {listed(empty)} in the training set of {path}")


def _at_least_two(classes: Sequence[str], path: Path) -> None:
    if len(classes) < 2:
        raise ValueError(f"path: fine-tuning needs at least two classes, {path} has {len(classes)}: {listed(classes)}")


def _unrecognised(path: Path) -> str:
    names = sorted(os.listdir(path))
    if not names:
        return f"path: the folder {path} is empty"
    return (
        "path: expected a folder per class (or train/ and test/ with one per class), "
        "CIFAR-10 (binary, Python or Matlab), "
        "one *train.npz and one *test.npz, or the four files of MNIST; "
        f"{path} has no folders, but {len(names)} files: {listed(names)}"
    )
