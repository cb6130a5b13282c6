"""Sources of pictures: their names and lengths, how they travel, and their fingerprints."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import class_folders, names
from PIL import Image
from sparsebp.data import Arrays, Encoded, Files, Subset


def sources(root: Path) -> list[Any]:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (0, 9, 0)).save(file, "PNG")
    whole = Encoded(file.getvalue() * 2, [0, len(file.getvalue()), 2 * len(file.getvalue())], [1, 0])
    files = Files(class_folders(root, {"a": 2, "b": 1}), ["a/00.png", "a/01.png", "b/00.png"], [0, 0, 1])
    return [files, Arrays(np.ones((2, 3, 3), np.uint8), [0, 1]), whole, Subset(files, [2, 0])]


def test_sources_travel_and_keep_to_their_length(tmp_path: Path) -> None:
    for source in sources(tmp_path):
        copy = pickle.loads(pickle.dumps(source))
        assert copy.fingerprint() == source.fingerprint()
        assert names(copy) == names(source)
        assert (np.asarray(copy.picture(0)) == np.asarray(source.picture(0))).all()
        assert source.labels.dtype == np.int64
        for wrong in (-1, len(source)):
            with pytest.raises(IndexError, match=f"index: expected 0 to {len(source) - 1}, got {wrong}"):
                source.picture(wrong)


def test_fingerprints_follow_the_pictures_not_the_folder(tmp_path: Path) -> None:
    first, second = sources(tmp_path / "one"), sources(tmp_path / "two")
    prints = [source.fingerprint() for source in first]
    assert prints == [source.fingerprint() for source in second]
    assert len(set(prints)) == len(prints)
    (tmp_path / "two" / "a" / "01.png").write_bytes(b"shorter")
    assert second[0].fingerprint() != prints[0]
    assert second[3].fingerprint() != prints[3]
    second[1].images[0, 0, 0] = 7
    assert second[1].fingerprint() != prints[1]
    assert Arrays(first[1].images, [1, 0]).fingerprint() != prints[1]
    assert Encoded(first[2].jpeg, first[2].offsets, [0, 0]).fingerprint() != prints[2]
    assert Subset(first[0], [0, 2]).fingerprint() != prints[3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Files("x", ["a"], [0, 1]), "labels: expected one a picture, 1, got 2"),
        (lambda: Files("x", ["/a"], [0]), "paths: expected paths relative to root, got /a"),
        (lambda: Arrays(np.zeros((1, 2, 2), np.float32), [0]), r"images: expected uint8 .* float32 \[1, 2, 2\]"),
        (lambda: Arrays(np.zeros((1, 2, 2, 4), np.uint8), [0]), "images: expected uint8"),
        (lambda: Arrays(np.zeros((1, 0, 2), np.uint8), [0]), "images: expected pictures with pixels"),
        (lambda: Arrays(np.zeros((1, 2, 2), np.uint8), [-1]), "labels: expected 0, 1, 2, .* got -1 for picture 0"),
        (lambda: Arrays(np.zeros((1, 2, 2), np.uint8), [0.0]), "labels: expected integers"),
        (lambda: Encoded(b"123", [0, 2, 1], [0, 0]), "offsets: expected N .* 0 to 3"),
        (lambda: Encoded(b"123", [0, 4], [0]), "offsets: expected N"),
        (lambda: Encoded(b"123", [], []), "offsets: expected N"),
        (lambda: Encoded(b"123", [0, 3], [0, 0]), "labels: expected one a picture, 1, got 2"),
        (lambda: Encoded(np.zeros(3), [0, 3], [0]), "jpeg: expected bytes or uint8"),
        (lambda: Subset(Arrays(np.zeros((2, 2, 2), np.uint8), [0, 1]), [0, 2]), "indices: expected 0 to 1"),
    ],
)
def test_sources_that_make_no_sense(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
