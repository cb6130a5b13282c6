"""What open_dataset recognises, how it divides pictures, and what it says of everything else."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import class_folders, names, picture
from PIL import Image
from sparsebp.data import BrokenPicture, Files, open_dataset

# --- a folder per class ----------------------------------------------------------------------------------------------


def test_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    class_folders(tmp_path, {"dog": 10, "cat": 5, "ant": 2, "bee": 1})
    data = open_dataset(tmp_path)
    assert data.classes == ("ant", "bee", "cat", "dog")
    assert data.kind == "a folder per class"
    assert np.bincount(data.test.labels, minlength=4).tolist() == [1, 0, 1, 1]
    assert np.bincount(data.train.labels).tolist() == [1, 1, 4, 9]
    everything = names(data.train) + names(data.test)
    assert sorted(everything) == sorted(str(path) for path in tmp_path.rglob("*.png"))
    for source in (data.train, data.test):
        assert [Path(name).parent.name for name in names(source)] == [data.classes[label] for label in source.labels]
        assert names(source) == sorted(names(source))
    assert names(open_dataset(tmp_path).test) == names(data.test)
    assert any(names(open_dataset(tmp_path, seed=seed).test) != names(data.test) for seed in range(1, 5))
    assert len(open_dataset(tmp_path, test_share=0.5).test) == 4 + 2 + 1


@pytest.mark.parametrize("held", ["test", "val", "validation", "Valid", "Testing"])
def test_train_and_test_folders(tmp_path: Path, held: str) -> None:
    class_folders(tmp_path / "train", {"b": 2, "a": 3, "c": 1})
    class_folders(tmp_path / held, {"c": 2, "a": 1})
    data = open_dataset(tmp_path)
    assert data.classes == ("a", "b", "c")
    assert data.kind == f"a folder per class, in train/ and {held}/"
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert data.test.labels.tolist() == [0, 2, 2]
    assert names(data.test)[0] == str(tmp_path / held / "a" / "00.png")


def test_test_goes_before_val_and_train_may_be_a_class(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        class_folders(tmp_path / "both" / part, {"a": 1, "b": 1})
    assert names(open_dataset(tmp_path / "both").test)[0].endswith("/test/a/00.png")
    vehicles = class_folders(tmp_path / "vehicles", {"bus": 2, "train": 2})
    assert open_dataset(vehicles).classes == ("bus", "train")


def test_a_held_out_folder_without_labels_is_passed_over(tmp_path: Path) -> None:
    """As competitions have it: train/ and val/ with a folder per class, and a test/ full of pictures."""
    for part in ("train", "val"):
        class_folders(tmp_path / part, {"a": 2, "b": 2})
    picture(tmp_path / "test" / "1.png")
    for unlabelled in ("flat", "in a folder of no class"):
        data = open_dataset(tmp_path)
        assert names(data.test)[0] == str(tmp_path / "val" / "a" / "00.png"), unlabelled
        assert data.kind == "a folder per class, in train/ and val/ (test/ left alone)"
        picture(tmp_path / "test" / "images" / "2.png")


APART, WHOLE = "cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"


def test_classes_whose_accents_are_spelt_in_two_ways_are_one(tmp_path: Path) -> None:
    """As after copying one of the folders by way of a Mac, or of a zip file."""
    class_folders(tmp_path / "split" / "train", {APART: 2, "bar": 2})
    class_folders(tmp_path / "split" / "test", {WHOLE: 1})
    data = open_dataset(tmp_path / "split")
    assert data.classes == ("bar", WHOLE)
    assert data.test.labels.tolist() == [1]
    both = open_dataset(class_folders(tmp_path / "both", {APART: 3, WHOLE: 4, "bar": 2}))
    assert both.classes == ("bar", WHOLE)
    assert np.bincount(both.everything.labels).tolist() == [2, 7]


def test_what_counts_as_a_picture(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 2, "b": 2})
    for name in (
        "a/notes.TXT",
        "a/Thumbs.db",
        "a/bark.ogg",
        "a/dog.svg",
        "a/dog.dat",
        "a/.DS_Store",
        "a/.hidden.png",
        "a/.trash/x.png",
        "a/__MACOSX/x.png",
    ):
        picture(tmp_path / name)
    for name in ("README.md", "loose.png", ".cache/x.png"):
        picture(tmp_path / name)
    for name in ("a/deep/er/x.png", "a/UPPER.JPG", "a/without", "a/odd.xyz"):
        picture(tmp_path / name)
    (tmp_path / "a" / "gone.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "to-a-pipe.png").symlink_to("pipe.png")  # reading it would wait for ever
    data = open_dataset(tmp_path)
    found = [name for source in (data.train, data.test) for name in names(source) if f"{tmp_path}/a/" in name]
    expected = ["00.png", "01.png", "UPPER.JPG", "deep/er/x.png", "gone.png", "odd.xyz", "to-a-pipe.png", "without"]
    assert sorted(found) == sorted(str(tmp_path / "a" / name) for name in expected)
    assert len(set(data.everything.keys())) == len(data.everything)  # type: ignore[attr-defined]


def test_links_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    class_folders(tmp_path / "elsewhere", {"x": 3})
    root = class_folders(tmp_path / "data", {"a": 2, "b": 2})
    (root / "c").symlink_to(tmp_path / "elsewhere" / "x")
    (root / "a" / "loop").symlink_to(root / "a")
    (root / "b" / "up").mkdir()
    (root / "b" / "up" / "self").symlink_to("self")
    data = open_dataset(root)
    assert data.classes == ("a", "b", "c")
    assert np.bincount(np.concatenate([data.train.labels, data.test.labels])).tolist() == [2, 3, 3]


def test_files_that_break_and_names_that_do_not_print(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 1})
    (tmp_path / "a" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    files = Files(tmp_path, ["a/00.png", os.fsdecode(b"a/\xff.png")], [0, 0])
    assert files.picture(0).size == (4, 4)
    with pytest.raises(BrokenPicture, match="zero bytes") as broken:
        files.picture(1)
    assert str(broken.value).encode() == f"{tmp_path}/a/\\xff.png: it is empty: zero bytes".encode()


# --- arrays ----------------------------------------------------------------------------------------------------------


def npz(folder: Path, name: str = "x_train.npz", **arrays: Any) -> Path:
    np.savez(folder / name, **arrays)
    return folder


GREY = {"images": np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2), "labels": np.array([0, 2, 1])}


def test_arrays_of_pixels(tmp_path: Path) -> None:
    color = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    npz(npz(tmp_path, **GREY), "x_test.npz", images=color, labels=np.array([1, 0], np.uint8))
    data = open_dataset(tmp_path)
    assert (data.kind, data.classes) == ("npz", ("0", "1", "2"))
    assert (np.asarray(data.train.picture(1)) == GREY["images"][1][:, :, None]).all()
    assert (np.asarray(data.test.picture(1)) == color[1]).all()
    assert data.test.labels.dtype == np.int64
    assert data.test.name(1) == "x_test.npz[1]"


def test_picture_files_end_to_end(tmp_path: Path) -> None:
    files = []
    for kind, color in (("PNG", (9, 8, 7)), ("BMP", (1, 2, 3)), ("GIF", (0, 0, 0))):
        file = io.BytesIO()
        Image.new("RGB", (5, 4), color).save(file, kind)
        files.append(file.getvalue())
    arrays = {
        "jpeg": np.frombuffer(b"".join([*files, b"no picture"]), np.uint8),
        "offsets": np.cumsum([0, *map(len, files), 10]),
        "labels": [1, 0, 1, 0],
        "classes": ["ant", "bee"],
    }
    npz_pair(tmp_path, arrays, {name: value for name, value in arrays.items() if name != "classes"})
    data = open_dataset(tmp_path)
    assert data.classes == ("ant", "bee")
    assert data.train.labels.tolist() == data.test.labels.tolist() == [1, 0, 1, 0]
    assert np.asarray(data.train.picture(1))[0, 0].tolist() == [1, 2, 3]
    with pytest.raises(BrokenPicture, match=r"^x_test\.npz\[3\]: not a picture"):
        data.test.picture(3)


def test_the_real_cifar10(data_root: Path) -> None:
    if not (data_root / "cifar10_train.npz").exists():
        pytest.skip(f"{data_root} has no cifar10_train.npz")
    data = open_dataset(data_root)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.train.picture(49_999).size == (32, 32)
    assert data.train.fingerprint() != data.test.fingerprint()


# --- what is said of everything else ---------------------------------------------------------------------------------


def two_folders(root: Path, train: dict[str, int], test: dict[str, int]) -> None:
    class_folders(root / "train", train)
    class_folders(root / "test", test)


def npz_pair(root: Path, train: dict[str, Any], test: dict[str, Any] | None = None) -> None:
    npz(npz(root, **train), "x_test.npz", **(GREY if test is None else test))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda root: None, "the folder .* is empty"),
    "only files": (lambda root: picture(root / "a.png"), r"expected a folder per class .* 1 files: a\.png"),
    "one class": (lambda root: class_folders(root, {"cats": 3}), "at least two classes, .* has 1: cats"),
    "one class, split": (lambda root: two_folders(root, {"a": 2}, {"a": 1}), "at least two classes"),
    "no pictures": (lambda root: class_folders(root, {"a": 2, "b": 0}), "there is no picture in b"),
    "one picture each": (lambda root: class_folders(root, {"a": 1, "b": 1}), "more than one picture, so none"),
    "only train": (
        lambda root: class_folders(root / "train", {"a": 1, "b": 1}),
        "has train/ but none of test/, .*val/",
    ),
    "more in test": (
        lambda root: two_folders(root, {"a": 1, "b": 1}, {"c": 1}),
        "but c is only in the latter; .* a, b",
    ),
    "nothing in test": (lambda root: two_folders(root, {"a": 1, "b": 1}, {"a": 0}), "no picture in the test set"),
    "no classes in test": (
        lambda root: (class_folders(root / "train", {"a": 1, "b": 1}), picture(root / "test" / "1.png")),
        "expected the folders a, b in .*test, .* there is none of them. Give .*train to have a share",
    ),
    "none in train": (lambda root: two_folders(root, {"a": 1, "b": 0}, {"b": 1}), "no picture in b"),
    "no test": (lambda root: npz(root, **GREY), r"one \*test\.npz in .*, found only x_train\.npz"),
    "two trains": (
        lambda root: npz_pair(npz(root, "y_train.npz", **GREY), GREY),
        r"one \*train\.npz in .*, found x_train\.npz, y_train\.npz",
    ),
    "no zip": (lambda root: (npz_pair(root, GREY), (root / "x_train.npz").write_bytes(b"PK\3\4")), r"x_train\.npz: "),
    "no labels": (lambda root: npz_pair(root, {"images": GREY["images"]}), "expected a key labels, found images"),
    "no images": (lambda root: npz_pair(root, {"labels": [0]}), "expected the keys images and labels, or jpeg"),
    "objects": (
        lambda root: npz_pair(root, {**GREY, "images": np.array([{}], dtype=object)}),
        "images: it holds Python objects, which are never loaded",
    ),
    "floats": (
        lambda root: npz_pair(root, {**GREY, "images": np.zeros((3, 2, 2))}),
        "x_train.npz: images: expected uint8",
    ),
    "float labels": (lambda root: npz_pair(root, {**GREY, "labels": [0.0, 1, 2]}), "labels: expected integers"),
    "too few labels": (lambda root: npz_pair(root, {**GREY, "labels": [0, 1]}), "one a picture, 3, got 2"),
    "from one": (lambda root: npz_pair(root, {**GREY, "labels": [1, 2, 3]}), "no picture of 0 in the training set"),
    "names too few": (
        lambda root: npz_pair(root, {**GREY, "classes": ["a", "b"]}),
        r"labels 0 to 1 for 2 classes in the training set .* got 2 for x_train\.npz\[1\]",
    ),
    "names differ": (
        lambda root: npz_pair(root, {**GREY, "classes": ["a", "b", "c"]}, {**GREY, "classes": ["a", "b", "d"]}),
        "name different classes",
    ),
    "names twice": (lambda root: npz_pair(root, {**GREY, "classes": ["a", "b", "a"]}), "different names"),
    "names no text": (lambda root: npz_pair(root, {**GREY, "classes": [1, 2, 3]}), "classes: expected text"),
    "no names": (
        lambda root: npz_pair(root, {**GREY, "labels": [0, 0, 0]}, {**GREY, "labels": [0] * 3}),
        "two classes",
    ),
    "nothing": (
        lambda root: npz_pair(root, GREY, {"images": GREY["images"][:0], "labels": []}),
        "no picture in the test",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, case: str) -> None:
    make, message = WRONG[case]
    make(tmp_path)
    with pytest.raises(ValueError, match=rf"(?s)^path: .*{message}"):
        open_dataset(tmp_path)


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path: there is no file or folder .*nowhere"):
        open_dataset(tmp_path / "nowhere")
    picture(tmp_path / "a.png")
    with pytest.raises(NotADirectoryError, match="path: expected a folder, or an archive"):
        open_dataset(str(tmp_path / "a.png"))
    with pytest.raises(NotADirectoryError, match="give the folder that holds it"):
        open_dataset(npz(tmp_path, **GREY) / "x_train.npz")
    for share in (0, 1, -0.5, float("nan"), True, "0.2"):
        with pytest.raises(ValueError, match="test_share: expected a number between 0 and 1"):
            open_dataset(tmp_path, test_share=share)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed: expected"):
        open_dataset(tmp_path, seed=-1)
