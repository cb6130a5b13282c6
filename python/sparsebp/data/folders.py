"""A folder per class."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .sources import Files

#: Folders of pictures to learn from, and of those held out; of several held out the first one here is taken.
TRAIN = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation")

# What lies beside pictures. A file with any other extension, or none, is taken for one: should it be none, reading it
# says so, which is better than a picture that is missing without a word.
_NO_PICTURES = frozenset(
    f".{extension}"
    for extensions in (
        "txt csv tsv json jsonl xml yaml yml toml ini cfg md rst htm html css js log db sqlite",
        "pdf doc docx xls xlsx ppt pptx odt ods zip tar gz tgz bz2 xz 7z rar zst md5 sha1 sha256",
        "py ipynb sh bat m mat npz pkl pickle pt pth ckpt safetensors onnx h5 hdf5 parquet arrow",
        "tfrecord mp3 wav flac ogg oga opus aac m4a mid dat svg mp4 avi mov mkv webm lnk url part tmp bak swp",
    )
    for extension in extensions.split()
)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in ``folder`` that are not hidden, sorted."""
    return sorted(name for name in os.listdir(folder) if _visible(name) and (folder / name).is_dir())


class Halves(NamedTuple):
    """The folders of a training and a test set, and those beside them that would also be one."""

    train: Path
    test: Path
    unused: list[str]


def class_folders(folder: Path) -> dict[str, list[str]]:
    """The classes in ``folder``, sorted, each with the names of its folders.

    These are several where only the spelling of accents differs: é is one character or two, which people do not see and
    computers of one kind or the other write.
    """
    found: dict[str, list[str]] = {}
    for name in subfolders(folder):
        found.setdefault(spelt(name), []).append(name)
    return dict(sorted(found.items()))


def spelt(name: str) -> str:
    """The spelling by which names of classes are compared."""
    return unicodedata.normalize("NFC", name)


def find_split(folder: Path) -> Halves | None:
    """Folders of the training and the test set inside ``folder``, however they are spelt.

    A folder of test pictures without labels, as competitions have it, is passed over for one that has some.

    Raises:
        ValueError: there is nothing but a training folder.
    """
    names = subfolders(folder)
    called = {name.lower(): name for name in reversed(names)}
    train = next((called[name] for name in TRAIN if name in called), None)
    held = [called[name] for name in HELD_OUT if name in called]
    if train is None or not subfolders(folder / train):
        return None
    if held:
        classes = class_folders(folder / train).keys()
        labelled = [name for name in held if not classes.isdisjoint(class_folders(folder / name))]
        test = (labelled or held)[0]
        return Halves(folder / train, folder / test, [name for name in held if name != test])
    if len(names) == 1:
        raise ValueError(
            f"path: {folder} has {train}/ but none of {', '.join(f'{name}/' for name in HELD_OUT)}; "
            f"add one, or give {folder / train} to have a share of it held out"
        )
    return None  # "train" is a class, beside "bus" and "tram"


def list_classes(folder: Path, classes: Mapping[str, Sequence[str]], names: Sequence[str]) -> Files:
    """The pictures in ``folder``.

    Args:
        folder: the folder.
        classes: those in it, with their folders.
        names: of all classes; labels count in this order.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        for inside in classes.get(name, ()):
            found = pictures_below(folder, inside)
            paths += found
            labels += [label] * len(found)
    return Files(folder, paths, labels)


def pictures_below(root: Path, folder: str = "") -> list[str]:
    """Paths, relative to ``root``, of the pictures in and below one of its folders (or itself), sorted."""
    found: list[str] = []
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        status = os.stat(root / here)
        if (status.st_dev, status.st_ino) in seen:  # a link back, or a second link to the same folder
            continue
        seen.add((status.st_dev, status.st_ino))
        inside: list[str] = []
        with os.scandir(root / here) as entries:  # tells files from folders without a look at each
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not _visible(entry.name):
                    continue
                path = f"{here}/{entry.name}" if here else entry.name
                if _is_folder(entry):
                    inside.append(path)
                # A link that leads nowhere counts: reading it will say that a picture is missing.
                elif not is_something_else(entry.name) and (entry.is_symlink() or entry.is_file()):
                    found.append(path)
        waiting += reversed(inside)
    return sorted(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_something_else(name: str) -> bool:
    """Whether a file is no picture, by its extension."""
    return os.path.splitext(name)[1].lower() in _NO_PICTURES


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"  # the latter: left by zip on a Mac
