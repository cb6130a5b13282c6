"""A contact sheet: the pictures that a model gets wrong side by side, with what they are and what it says."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..data import Source
from ..files import check_writable, named_errors
from .mistakes import Mistake

_TILE = 200
"""Pixels of the square that a picture is shown in."""
_TEXT = 15
"""Height of the letters."""
_GAP = 8
_ACROSS = 5
"""Pictures side by side, at most."""
_FONTS = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "Arial.ttf")
"""With letters beyond ASCII, where systems have them."""
_RIGHT, _WRONG = "#00713c", "#b03a00"


def check_sheet_file(file: Path) -> None:
    """Checks, before any long work, that a contact sheet can be written to ``file``.

    Raises:
        ValueError: Pillow does not know the ending of its name.
        OSError: there is no such folder, it cannot be written to, or ``file`` is a folder.
    """
    kinds = sorted(ending for ending, kind in Image.registered_extensions().items() if kind in ("PNG", "JPEG", "WEBP"))
    if file.suffix.lower() not in kinds:
        raise ValueError(f"worst_sheet: expected a file name that ends in {', '.join(kinds)}, got {str(file)!r}")
    check_writable(file, "worst_sheet")


def write_sheet(worst: Sequence[Mistake], source: Source, file: Path) -> None:
    """Draws the pictures side by side, each above what it is and what it was taken for.

    Raises:
        OSError: the file cannot be written.
    """
    across = min(_ACROSS, len(worst))
    down = -(-len(worst) // across)
    width, height = _TILE + _GAP, _TILE + 3 * _TEXT + _GAP
    sheet = Image.new("RGB", (across * width + _GAP, down * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), _font("".join(one.label + one.predicted for one in worst))
    for i, one in enumerate(worst):
        left, top = _GAP + i % across * width, _GAP + i // across * height
        shown = _fitted(source.picture(one.index))
        sheet.paste(shown, (left, top + _TILE - shown.height))
        below = top + _TILE + _TEXT // 4
        draw.text((left, below), _cut(f"is {one.label}", font), _RIGHT, font)
        share = f" {one.probability:.1%}"
        said = _cut(f"taken for {one.predicted}", font, _TILE - font.getlength(share)) + share
        draw.text((left, below + 1.2 * _TEXT), said, _WRONG, font)
    with named_errors(file):
        sheet.save(file)


def _font(text: str) -> Any:
    """Letters for a text: Pillow's own, which are ASCII's, or the first on this machine that have more."""
    if not text.isascii():
        matplotlib = importlib.util.find_spec("matplotlib")
        inside = matplotlib.submodule_search_locations if matplotlib is not None else None
        for name in (*_FONTS, *(f"{place}/mpl-data/fonts/ttf/DejaVuSans.ttf" for place in inside or ())):
            with suppress(OSError):  # it is not there
                return ImageFont.truetype(name, _TEXT)
    return ImageFont.load_default(_TEXT)


def _fitted(picture: Image.Image) -> Image.Image:
    """A picture of a tile's size; of a small one each pixel becomes a square."""
    times = _TILE // max(picture.size)
    if times > 1:
        return picture.resize((times * picture.width, times * picture.height), Image.Resampling.NEAREST)
    picture.thumbnail((_TILE, _TILE))
    return picture


def _cut(text: str, font: Any, width: float = _TILE) -> str:
    """As much of a text as there is room for."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
