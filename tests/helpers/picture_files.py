"""Pictures, and files and folders of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sparsebp.data.decode import decode


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixel(file: bytes) -> tuple[int, ...]:
    """The only colour of a decoded picture."""
    pixels = np.asarray(decode(file, "picture"))
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[0, 0]).all()
    return tuple(pixels[0, 0].tolist())


def filled(mode: str, color: Any) -> Image.Image:
    return Image.new(mode, (5, 4), color)


def picture(path: Path, color: Any = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), color).save(path, "PNG")


def class_folders(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(root / name / f"{i:02}.png", i)
    return root


def names(source: Any) -> list[str]:
    return [source.name(i) for i in range(len(source))]
