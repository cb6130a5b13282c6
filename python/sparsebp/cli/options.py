"""The options that several commands share, and what their text means.

Values stay text until a command asks for their meaning; each is checked when the command line is read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import torch
import typer

from .. import devices
from ..planning.choice import GRADIENTS
from ..planning.request import check_gradients
from ..samplers import NAMES
from ..units import check_seed, parse_bytes
from .numbers import whole

MODEL, MEMORY, TRAINING, OUTPUT = "Model", "Memory", "Training", "Output"
"""Panels of the help."""

#: The network that commands take unless told otherwise.
DEFAULT_MODEL = "mobilenet_v2"

_LARGEST_INPUT = 4096
"""Pixels of a side; a plan runs the network once at this size, and a slip of the finger should not take hours."""

T = TypeVar("T")


def parse_input_size(text: str) -> tuple[int, int]:
    """``"128"`` or ``"128x160"`` (height x width) as ``(height, width)``.

    Raises:
        ValueError: neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and 0 < int(p) <= _LARGEST_INPUT for p in parts):
        raise ValueError(f"expected 1 to {_LARGEST_INPUT} pixels as 128 or, height first, 128x160, got {text!r}")
    return int(parts[0]), int(parts[-1])


def parse_budget(text: str) -> int:
    """``"256KB"`` or ``"262144"`` as bytes.

    Raises:
        ValueError: neither.
    """
    text = text.strip()
    try:
        return parse_bytes(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError as error:
        _, which, reason = str(error).partition(", which is ")
        expected = "expected a whole number of bytes such as 256KB, 1.5MB or 262144"
        raise ValueError(f"{expected}, got {text!r}{which}{reason}") from None


def parse_ratios(texts: Sequence[str] | None) -> dict[str, float]:
    """``["features.17.*=0.1"]`` as ``{"features.17.*": 0.1}``.

    Raises:
        ValueError: one is not a glob, ``=`` and a share from 0 to 1, or a glob occurs twice.
    """
    return _by_glob(texts, "SHARE with a share from 0 to 1, such as 'features.17.*=0.1'", 1.0)


def parse_layer_rates(texts: Sequence[str] | None) -> dict[str, float]:
    """``["*.conv.0.0=0.25"]`` as ``{"*.conv.0.0": 0.25}``.

    Raises:
        ValueError: one is not a glob, ``=`` and a finite number of at least 0, or a glob occurs twice.
    """
    return _by_glob(texts, "FACTOR with a finite factor of at least 0, such as '*.conv.0.0=0.25'", sys.float_info.max)


def _by_glob(texts: Sequence[str] | None, expected: str, most: float) -> dict[str, float]:
    values: dict[str, float] = {}
    for text in texts or ():
        glob, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not glob or not 0 <= value <= most:
            raise ValueError(f"expected GLOB={expected}, got {text!r}")
        if glob in values:
            raise ValueError(f"{glob!r} is given twice")
        values[glob] = value
    return values


def set_threads(threads: int | None) -> None:
    """Makes torch, and so the native kernels, use so many threads; None leaves it to torch."""
    if threads is not None:
        torch.set_num_threads(threads)


def parse_device(text: str) -> torch.device:
    """``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises:
        ValueError: neither, or programs do not run there.
    """
    try:
        device = torch.device(text)
    except RuntimeError:
        raise ValueError(f"expected cpu, cuda or cuda:NUMBER, got {text!r}") from None
    devices.check(device, torch.float32, f"{text!r}: the model")
    return device


def checked(parse: Callable[[T], object]) -> Callable[[T], T]:
    """A typer callback that refuses what ``parse`` refuses, and passes the value on as it is."""

    def check(value: T) -> T:
        if value is not None:
            try:
                parse(value)
            except (ValueError, TypeError) as error:
                raise typer.BadParameter(str(error)) from error
        return value

    return check


def checked_all(parse: Callable[[list[T]], object]) -> Callable[[list[T] | None], list[T]]:
    """As :func:`checked`, for an option that may be repeated; some versions of typer want a list back, not None."""

    def check(values: list[T] | None) -> list[T]:
        return checked(parse)(list(values or ()))

    return check


def check_share(value: float) -> None:
    """Raises ValueError unless it is a share above 0."""
    if not 0 < value <= 1:
        raise ValueError(f"expected a share above 0 and up to 1, such as 0.02, got {value}")


def _sampler(name: str) -> None:
    if name not in NAMES:
        raise ValueError(f"expected one of {', '.join(NAMES)}, got {name!r}")


Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="A network of sparsebp.models, timm:NAME, torchvision:NAME, or package.module:function. Not needed beside "
        "weights that say theirs.",
        rich_help_panel=MODEL,
    ),
]
Classes = Annotated[
    int,
    typer.Option("--classes", metavar="N", parser=whole(1), help="Outputs of the network.", rich_help_panel=MODEL),
]
InputSize = Annotated[
    str,
    typer.Option(
        "--input-size",
        metavar="SIZE",
        help="Pixels of the network's input: 224, or height x width such as 128x160.",
        callback=checked(parse_input_size),
        rich_help_panel=MODEL,
    ),
]
Budget = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="BYTES",
        help="Training memory: 256KB (262,144 bytes), 1.5MB, or a number of bytes.",
        callback=checked(parse_budget),
        rich_help_panel=MEMORY,
    ),
]
MicroBatch = Annotated[
    int,
    typer.Option(
        "--micro-batch",
        metavar="N",
        parser=whole(1),
        help="Images that go through at once; the memory is planned for so many.",
        rich_help_panel=MEMORY,
    ),
]
MaxUpdateRatio = Annotated[
    float,
    typer.Option(
        "--max-update-ratio",
        metavar="SHARE",
        help="Largest share of the convolution weights that one step may touch.",
        callback=checked(check_share),
        rich_help_panel=MEMORY,
    ),
]
Ratio = Annotated[
    list[str] | None,
    typer.Option(
        "--ratio",
        metavar="GLOB=SHARE",
        help="Share of the channels to train in the layers whose name matches; 0 freezes them. Repeatable.",
        callback=checked_all(parse_ratios),
        rich_help_panel=MEMORY,
    ),
]
Sampler = Annotated[
    str,
    typer.Option(
        "--sampler",
        metavar="|".join(NAMES),
        help="Who draws the channels of a step.",
        callback=checked(_sampler),
        rich_help_panel=TRAINING,
    ),
]
ResampleEvery = Annotated[
    int,
    typer.Option(
        "--resample-every",
        metavar="STEPS",
        parser=whole(1),
        help="Steps between two draws.",
        rich_help_panel=TRAINING,
    ),
]
Momentum = Annotated[
    bool,
    typer.Option("--momentum", metavar="", help="Reserve momentum for what is selected.", rich_help_panel=MEMORY),
]
Gradients = Annotated[
    str,
    typer.Option(
        "--gradients",
        metavar="|".join(GRADIENTS),
        help="Use gradients up as they arise, or reserve memory to sum them until the end of a step.",
        callback=checked(check_gradients),
        rich_help_panel=MEMORY,
    ),
]
NoNormalise = Annotated[
    bool,
    typer.Option("--no-normalise", metavar="", help="Keep no mean squares of the gradients.", rich_help_panel=MEMORY),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        help="Of everything that is random.",
        callback=checked(check_seed),
        rich_help_panel=TRAINING,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where to compute: cpu, cuda or cuda:NUMBER.",
        callback=checked(parse_device),
        rich_help_panel=OUTPUT,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        parser=whole(1),
        help="Threads to compute with. [default: torch's choice]",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", metavar="", help="Print JSON, and nothing else, on standard output.", rich_help_panel=OUTPUT
    ),
]
