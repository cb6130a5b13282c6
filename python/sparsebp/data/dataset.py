"""From a path to a training and a test set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..samplers import check_seed
from . import cifar, folders, idx, npz
from .sources import Files, Source, Subset
from .split import stratified

DEFAULT_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Dataset:
    """Pictures to fine-tune on, pictures to judge the result by, and what the labels mean.

    Attributes:
        train, test: the pictures.
        classes: the name of each label.
        kind: what was found, for a message.
    """

    train: Source
    test: Source
    classes: tuple[str, ...]
    kind: str


def open_dataset(path: str | Path, *, test_share: float = DEFAULT_TEST_SHARE, seed: int = 0) -> Dataset:
    """The data set at ``path``, which is one of

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
        test_share: of each class, to the nearest picture, where the data set has no test set of its own.
        seed: of the draw of that share.

    Raises:
        FileNotFoundError, NotADirectoryError: there is nothing at ``path``, or a file of another kind.
        ValueError: nothing of the above, or something is wrong with it; the message says what.
        ImportError: CIFAR-10's Matlab version without scipy.
    """
    path = Path(path).expanduser()
    if isinstance(test_share, bool) or not isinstance(test_share, (int, float)) or not 0 < test_share < 1:
        raise ValueError(f"test_share: expected a number between 0 and 1, got {test_share!r}")
    check_seed(seed)
    if not path.exists():
        raise FileNotFoundError(f"path: there is no file or folder {path}")
    found = cifar.find(path)
    if found is not None:
        train, test, classes, version = cifar.read(*found)
        return _checked(Dataset(train, test, classes, f"CIFAR-10 ({version})"), path)
    if not path.is_dir():
        hint = "; give the folder that holds it" if path.suffix == ".npz" else ""
        raise NotADirectoryError(f"path: expected a folder, or an archive of CIFAR-10; {path} is a file{hint}")
    pair = npz.find(path)
    if pair is not None:
        return _checked(Dataset(*npz.read(*pair), "npz"), path)
    four = idx.find(path)
    if four is not None:
        return _checked(Dataset(*idx.read(*four), "MNIST files"), path)
    split = folders.find_split(path)
    if split is not None:
        return _checked(_two_folders(*split), path)
    return _checked(_one_folder(path, test_share, seed), path)


def _two_folders(train: Path, test: Path) -> Dataset:
    classes = folders.subfolders(train)
    extra = [name for name in folders.subfolders(test) if name not in classes]
    if extra:
        raise ValueError(
            f"path: expected the classes of {train} in {test} too, but {_listed(extra)} "
            f"{'is' if len(extra) == 1 else 'are'} only in the latter; the former has {_listed(classes)}"
        )
    both = [name for name in classes if (test / name).is_dir()]
    if not both:
        raise ValueError(
            f"path: expected the folders {_listed(classes)} in {test}, as in {train}; there is none of them"
        )
    tested = folders.list_classes(test, both)
    labels = np.array([classes.index(name) for name in both], np.int64)[tested.labels]
    kind = f"a folder per class, in {train.name}/ and {test.name}/"
    return Dataset(_listing(train, classes), Files(test, tested.paths, labels), tuple(classes), kind)


def _one_folder(path: Path, share: float, seed: int) -> Dataset:
    classes = folders.subfolders(path)
    if not classes:
        raise ValueError(_unrecognised(path))
    _at_least_two(classes, path)
    whole = _listing(path, classes)
    train, test = stratified(whole.labels, share, seed)
    if len(test) == 0:
        raise ValueError(
            f"path: no class in {path} has more than one picture, so none can be held out to test with; "
            "add pictures, or put them into train/ and test/"
        )
    return Dataset(Subset(whole, train), Subset(whole, test), tuple(classes), "a folder per class")


def _listing(folder: Path, classes: Sequence[str]) -> Files:
    listed = folders.list_classes(folder, classes)
    empty = [name for label, name in enumerate(classes) if not (listed.labels == label).any()]
    if empty:
        raise ValueError(
            f"path: every folder in {folder} is taken for a class, but there is no picture in {_listed(empty)}"
        )
    return listed


def _checked(data: Dataset, path: Path) -> Dataset:
    """``data``, if its parts agree and something can be learnt from it."""
    _at_least_two(data.classes, path)
    if len(set(data.classes)) != len(data.classes):
        raise ValueError(f"path: expected classes of different names in {path}, got {_listed(data.classes)}")
    for title, source in (("training", data.train), ("test", data.test)):
        if len(source) == 0:
            raise ValueError(f"path: there is no picture in the {title} set of {path}")
        if source.labels.max() >= len(data.classes):
            worst = int(source.labels.argmax())
            raise ValueError(
                f"path: expected labels 0 to {len(data.classes) - 1} for {len(data.classes)} classes in the {title} "
                f"set of {path}, got {source.labels[worst]} for {source.name(worst)}"
            )
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    empty = [name for name, count in zip(data.classes, counts, strict=True) if count == 0]
    if empty:
        raise ValueError(f"path: there is no picture of {_listed(empty)} in the training set of {path}")
    return data


def _at_least_two(classes: Sequence[str], path: Path) -> None:
    if len(classes) < 2:
        raise ValueError(f"path: fine-tuning needs at least two classes, {path} has {len(classes)}: {_listed(classes)}")


def _unrecognised(path: Path) -> str:
    names = sorted(os.listdir(path))
    if not names:
        return f"path: the folder {path} is empty"
    return (
        "path: expected a folder per class (or train/ and test/ with one per class), "
        "CIFAR-10 (binary, Python or Matlab), "
        "one *train.npz and one *test.npz, or the four files of MNIST; "
        f"{path} has no folders, but {len(names)} files: {_listed(names)}"
    )


def _listed(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
