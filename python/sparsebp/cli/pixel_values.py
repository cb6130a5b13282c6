"""What the text of options means that say what pixel values become."""

from __future__ import annotations

import math

from ..data import Levels

_LARGEST_INPUT_VALUE = 512
"""No network is known that wants more than 255; larger ones are those of cameras, which are another option."""


def parse_numbers(text: str, count: int) -> tuple[float, ...]:
    """``"0.5,0.5,0.5"`` as numbers; one number stands for all of them.

    Raises:
        ValueError: other than one or ``count`` numbers.
    """
    parts = text.replace(":", ",").split(",")
    try:
        numbers = tuple(float(p) for p in parts)
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, count):
        raise ValueError(f"expected {count} numbers with commas between them, got {text!r}")
    return numbers * (count // len(numbers))


def parse_range(text: str) -> tuple[float, float]:
    """``"-1,1"`` as what the pixel values 0 and 255 become.

    Raises:
        ValueError: not two ascending numbers.
    """
    low, high = parse_numbers(text, 2)
    if not low < high:
        raise ValueError(f"expected two ascending numbers such as 0,1 or -1,1, got {text!r}")
    if max(abs(low), abs(high)) > _LARGEST_INPUT_VALUE:
        raise ValueError(
            f"expected what the network is to get for 0 and 255, such as 0,1 or -1,1, got {text!r}; black and white of "
            f"pictures with more than 8 bits are --levels={text}"
        )
    return low, high


def parse_levels(text: str) -> Levels:
    """``"0,4095"`` as black and white of pictures with more than 8 bits.

    Raises:
        ValueError: not two ascending numbers.
    """
    low, high = parse_numbers(text, 2)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected two ascending numbers such as 0,4095, got {text!r}")
    return Levels(low, high, chosen=True)


def parse_triple(text: str) -> tuple[float, float, float]:
    """Three numbers, or one for all channels.

    Raises:
        ValueError: something else.
    """
    red, green, blue = parse_numbers(text, 3)
    return red, green, blue
