"""Pictures with more than 8 bits a sample: what is black and white, by the file, by the folder, or by a person."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sparsebp.data import Arrays, Dataset, Encoded, Levels, Loader, Preprocess, open_dataset, open_tests
from sparsebp.data.decode import decode, extremes, is_deep
from sparsebp.data.levels import Survey

GREY = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
"""What each picture shows, with 8 bits."""


def encoded(values: np.ndarray, kind: str = "TIFF", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def tiff(values: np.ndarray, **tags: Any) -> bytes:
    """With tags named t262 and so on."""
    return encoded(values, tiffinfo={int(name[1:]): value for name, value in tags.items()})


def png(values: np.ndarray, color: int) -> bytes:
    """Of 16 bits a sample, which Pillow does not write in colour: uint16 [H, W, C]."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pgm(values: np.ndarray, greatest: int) -> bytes:
    return b"P5 %d %d %d\n" % (values.shape[1], values.shape[0], greatest) + values.astype(">u2").tobytes()


def folder(root: Path, make: Callable[[np.ndarray], bytes], count: int = 6) -> Path:
    """Two classes, the second one darker."""
    for label, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.img").write_bytes(make(GREY // (1 + label)))
    return root


def shown(data: Dataset, index: int = 0) -> np.ndarray:
    """A picture of class a, in grey."""
    pixels = np.asarray(data.train.picture(index))
    assert (pixels == pixels[:, :, :1]).all()
    return np.asarray(pixels[:, :, 0], np.int64)


def twelve(grey: np.ndarray) -> np.ndarray:
    return grey.astype(np.uint16) * 16


#: What a file holds of GREY, and whether 8 bits come out exactly.
KINDS: dict[str, tuple[Callable[[np.ndarray], bytes], Levels | None]] = {
    "12 bits in a PNG": (lambda g: encoded(twelve(g), "PNG"), Levels(0, 4095)),
    "12 bits in a TIFF": (lambda g: tiff(twelve(g)), Levels(0, 4095)),
    "10 bits": (lambda g: tiff(g.astype(np.uint16) * 4), Levels(0, 1023)),
    "16 bits": (lambda g: encoded(g.astype(np.uint16) * 257, "PNG"), Levels(0, 65535)),
    "signed": (lambda g: tiff(g.astype(np.int32) * 128), Levels(0, 32767)),
    "8 bits in 16": (lambda g: encoded(g.astype(np.uint16), "PNG"), Levels(0, 255)),
    "floats to 1": (lambda g: tiff((g / 255).astype(np.float32)), Levels(0, 1)),
    "floats to 4095": (lambda g: tiff(twelve(g).astype(np.float32)), Levels(0, 4095)),
    "floats to 65535": (lambda g: tiff(g.astype(np.float32) * 257), Levels(0, 65535)),
    "white is zero": (lambda g: tiff(4080 - twelve(g), t262=0), Levels(0, 4095)),
    "floats, white is zero": (lambda g: tiff((1 - g / 255).astype(np.float32), t262=0), Levels(0, 1)),
    "a hot pixel": (lambda g: tiff(np.where(np.arange(2000).reshape(40, 50) == 7, 65535, twelve(g)).astype(np.uint16)),
                    Levels(0, 4095)),
    "what the TIFF says": (lambda g: tiff(twelve(g) // 16, t281=255), None),
    "what the TIFF says of samples": (lambda g: tiff((g - 100.0).astype(np.float32), t340=-100.0, t341=155.0), None),
    "what the PGM says": (lambda g: pgm(twelve(g), 4095), None),
    "a TIFF that says the greatest of its type": (lambda g: tiff(twelve(g), t281=65535), Levels(0, 4095)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_deep_pictures_looks_as_with_8_bits(kind: str, tmp_path: Path) -> None:
    make, levels = KINDS[kind]
    data = open_dataset(folder(tmp_path, make))
    assert data.levels == levels
    off = np.abs(shown(data) - GREY)
    assert (off > 1).sum() <= (kind == "a hot pixel")


@pytest.mark.parametrize("offset", [-1000.0, 29_000.0, 1e6])
def test_values_far_from_zero_are_their_own_range(offset: float, tmp_path: Path) -> None:
    """Degrees, or what a thermal camera counts: black and white are about the least and the greatest of the folder."""
    data = open_dataset(folder(tmp_path, lambda g: tiff((g * 4.0 + offset).astype(np.float32))))
    assert data.levels is not None
    assert (data.levels.low, data.levels.high) == pytest.approx((offset, offset + 1020), abs=5)
    assert np.abs(shown(data) - GREY).max() <= 2


def test_dark_and_bright_pictures_keep_their_brightness(tmp_path: Path) -> None:
    """One scale for the folder, not one for each picture."""
    data = open_dataset(folder(tmp_path, lambda g: tiff(twelve(g))))
    means = [np.asarray(data.train.picture(i)).mean() for i in range(len(data.train))]
    bright, dark = (np.mean(np.array(means)[data.train.labels == label]) for label in (0, 1))
    assert bright == pytest.approx(2 * dark, rel=0.02)


def test_colors_of_16_bits_are_scaled_too(tmp_path: Path) -> None:
    """Pillow gives their upper 8 bits, so that 12 bits leave few shades; but they are not black."""
    data = open_dataset(folder(tmp_path / "12", lambda g: png(np.dstack([twelve(g)] * 3), 2)))
    assert data.levels == Levels(0, 4095)
    assert np.abs(shown(data) - GREY).max() <= 17
    whole = open_dataset(folder(tmp_path / "16", lambda g: png(np.dstack([g * np.uint16(257)] * 3), 2)))
    assert (shown(whole) == GREY).all()
    clear = np.dstack([twelve(GREY)] * 3 + [np.full(GREY.shape, 65535, np.uint16)])
    assert (np.asarray(decode(png(clear, 6), "x", Levels(0, 4095)))[..., 0] > 200).any()


def test_what_a_person_says_counts_most(tmp_path: Path) -> None:
    for kind, scale in (("12 bits in a TIFF", 16), ("what the PGM says", 16), ("what the TIFF says", 1)):
        root = folder(tmp_path / kind, KINDS[kind][0])
        data = open_dataset(root, levels=(0, 100 * scale))
        assert np.abs(shown(data) - np.minimum(GREY * 2.55, 255)).max() <= 1
        assert (shown(open_dataset(root).at_levels(Levels(0, 100 * scale, True))) == shown(data)).all()


def test_pictures_of_8_bits_have_no_levels(tmp_path: Path) -> None:
    data = open_dataset(folder(tmp_path, lambda g: encoded(g, "PNG")), levels=(0, 4095))
    assert (shown(data) == GREY).all()
    assert open_dataset(tmp_path).levels is None


def test_pictures_in_one_buffer_are_looked_at_as_well(tmp_path: Path) -> None:
    files = [encoded(twelve(GREY), "PNG")] * 4
    arrays = {"jpeg": np.frombuffer(b"".join(files), np.uint8), "offsets": np.arange(5) * len(files[0])}
    for part in ("train", "test"):
        np.savez(tmp_path / f"{part}.npz", **arrays, labels=[0, 1, 0, 1])
    data = open_dataset(tmp_path)
    assert isinstance(data.train, Encoded)
    assert data.levels == Levels(0, 4095)
    assert np.abs(shown(data) - GREY).max() <= 1


def test_a_loader_reads_at_the_levels_of_its_preprocessing() -> None:
    whole = Encoded(encoded(twelve(GREY), "PNG"), [0, len(encoded(twelve(GREY), "PNG"))], [0])
    size = (40, 50)
    for levels, expected in (((0, 4095), GREY), ((0, 65535), GREY * 16.0 / 257)):
        [batch] = Loader(whole, Preprocess(size, levels=levels))([[0]])  # type: ignore[arg-type]
        assert np.abs(batch.images[0, :, :, 0].numpy().astype(float) - expected).max() <= 1
    assert whole.levels is None


def test_a_survey_counts_the_pictures_that_would_be_lost() -> None:
    survey = Survey(((0, 4000), (10, 3900), (0, 60_000)))
    assert survey.fitting() == Levels(0, 65535)
    assert survey.lost(Levels(0, 65535)) == 2
    assert survey.lost(Levels(0, 4095)) == 0
    assert survey.lost(Levels(-2000, -1000)) == 3
    assert Survey(()).fitting() is None
    assert Survey(((7, 7),)).fitting() == Levels(0, 255)
    assert Survey(((-7, -7),)).fitting() == Levels(-8, -7)


def test_what_is_broken_is_left_to_who_reads_it(tmp_path: Path) -> None:
    root = folder(tmp_path, KINDS["12 bits in a TIFF"][0])
    (root / "a" / "0.img").write_bytes(tiff(twelve(GREY))[:900])
    (root / "a" / "1.img").write_bytes(b"")
    (root / "a" / "2.img").unlink()
    (root / "a" / "2.img").symlink_to("nowhere")
    assert open_tests(root).levels == Levels(0, 4095)


def test_pictures_without_a_number_in_them_are_black() -> None:
    nothing = tiff(np.full((4, 5), np.nan, np.float32))
    assert (np.asarray(decode(nothing, "x", Levels(-5, 5))) == 0).all()
    low, high = extremes(nothing, "x") or (0, 0)
    assert np.isnan(low)
    assert np.isnan(high)


def test_most_kinds_are_told_by_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {kind: encoded(GREY, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP")}
    deep = encoded(twelve(GREY), "PNG")
    assert is_deep(deep)
    assert not is_deep(tiff(GREY))
    monkeypatch.setattr(Image, "open", lambda _: pytest.fail("it was opened"))
    assert not any(is_deep(file) for file in files.values())


def test_levels_are_part_of_the_preprocessing_and_survive_json() -> None:
    made = Preprocess((8, 8), levels=(0, 4095))  # type: ignore[arg-type]
    assert made.levels == Levels(0, 4095, chosen=True)
    for levels in (made.levels, Levels(-1.5, 2.5), None):
        kept = Preprocess((8, 8), levels=levels)
        assert Preprocess.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept
    assert "levels" not in Preprocess((8, 8)).to_dict()
    for wrong in ((1, 1), (2, 1), (0, float("nan")), (0,), "0,1", (0, "1"), (True, 2)):
        with pytest.raises(ValueError, match="levels: expected"):
            Preprocess((8, 8), levels=wrong)  # type: ignore[arg-type]


def test_arrays_have_no_levels() -> None:
    data = Dataset(Arrays(GREY[None], [0]), Arrays(GREY[None], [0]), ("a",), "")
    assert data.surveyed(None).levels is None
    assert (np.asarray(data.at_levels(Levels(0, 9)).train.picture(0))[..., 0] == GREY).all()
