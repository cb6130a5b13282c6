"""Instructions that single kernels execute, counted by valgrind: a number that no busy machine disturbs.

make instructions
python bench/instructions.py --check bench/README.md

It depends on the compiler. Each profile stays beside the program: ``callgrind_annotate FILE`` reads it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

PROGRAM = Path(__file__).parent.parent / "build" / "test" / "kernels"
SIZE = 128
ISA = "avx2"
"""What valgrind can run on any x86-64 processor of ours."""
CASES = (
    ("pointwise_forward", "features.3.conv.0.0"),
    ("pointwise_forward", "features.14.conv.2"),
    ("pointwise_input_grad", "features.8.conv.0.0"),
    ("pointwise_input_grad", "features.17.conv.2"),
    ("pointwise_weight_grad", "features.8.conv.2"),
    ("conv_forward", "features.0.0"),
    ("depthwise_forward", "features.3.conv.1.0"),
    ("depthwise_forward", "features.7.conv.1.0"),
    ("depthwise_input_grad", "features.3.conv.1.0"),
    ("depthwise_input_grad", "features.7.conv.1.0"),
    ("depthwise_weight_grad", "features.8.conv.1.0"),
    ("mask", "features.8.conv.0.0"),
    ("pack", "features.17.conv.2"),
)
"""Kernel and layer: wide and narrow products, both strides, large and small images."""
TOLERANCE = 0.05
"""Another release of the same compiler counts a few percent more or less."""

HEADING = "| kernel | layer | instructions | instructions per multiply-add |"
_ROW = re.compile(r"\| `(?P<kernel>\w+)` \| `(?P<layer>[\w.]+)` \| (?P<instructions>[1-9][\d,]*) \| [^|]+ \|")

Case = tuple[str, str]


class CountError(Exception):
    """What is missing, or what went wrong."""


@dataclass(frozen=True)
class Count:
    """What one run of a kernel on a layer took; a kernel that multiplies nothing has 0 ``multiply_adds``."""

    instructions: int
    multiply_adds: int


def count(program: Path, case: Case) -> Count:
    """Runs one case under callgrind.

    Raises:
        CountError: valgrind or the program is missing or fails.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise CountError("valgrind is not installed; it does the counting (apt install valgrind)")
    if not program.is_file():
        raise CountError(f"{program} does not exist; `make kernels` builds it")
    kernel, layer = case
    profile = program.parent / f"callgrind.out.{kernel}.{layer}"
    command = [valgrind, "-q", "--tool=callgrind", "--toggle-collect=measured", f"--callgrind-out-file={profile}"]
    command += [str(program.resolve()), "--count", "--csv", "--isa", ISA, "--size", str(SIZE)]
    command += ["--kernel", kernel, "--layers", layer]
    # Symbols are looked up before the program starts and not while it is measured.
    done = subprocess.run(command, env={**os.environ, "LD_BIND_NOW": "1"}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CountError(f"{' '.join(command)}\nexits {done.returncode}: {done.stderr.strip()}")
    *_, line = done.stdout.splitlines()
    total = re.search(r"^totals: (\d+)$", profile.read_text(), re.MULTILINE)
    if total is None or int(total[1]) == 0:
        raise CountError(f"{profile} counts nothing: the program never called `measured`")
    return Count(int(total[1]), int(line.split(",")[2]))


def table(counts: Mapping[Case, Count]) -> str:
    """Markdown, as :func:`read_table` reads it."""
    rows = [HEADING, "|---|---|---|---|"]
    for (kernel, layer), counted in counts.items():
        share = f"{counted.instructions / counted.multiply_adds:.3f}" if counted.multiply_adds else "-"
        rows.append(f"| `{kernel}` | `{layer}` | {counted.instructions:,} | {share} |")
    return "\n".join(rows)


def read_table(text: str) -> dict[Case, int]:
    """The instructions in the first table of a Markdown text that has our heading.

    Raises:
        ValueError: there is none, or a row is not as :func:`table` writes it.
    """
    lines = iter(text.splitlines())
    if HEADING not in lines:  # leaves the iterator behind the heading
        raise ValueError(f"no table with the heading {HEADING}")
    next(lines, None)
    found: dict[Case, int] = {}
    for line in lines:
        if not line.startswith("|"):
            break
        row = _ROW.fullmatch(line)
        if row is None:
            raise ValueError(f"expected a kernel, a layer, instructions and a share, got: {line}")
        found[row["kernel"], row["layer"]] = int(row["instructions"].replace(",", ""))
    return found


def differences(counts: Mapping[Case, Count], recorded: Mapping[Case, int]) -> list[str]:
    """A line for each case with more than ``TOLERANCE`` more instructions than recorded, or on one side only."""
    lines = []
    for case, counted in counts.items():
        name = ", ".join(case)
        if case not in recorded:
            lines.append(f"{name}: {counted.instructions:,} counted, none recorded")
        elif counted.instructions > recorded[case] * (1 + TOLERANCE):
            more = f"{counted.instructions / recorded[case] - 1:.1%} more"
            lines.append(f"{name}: {counted.instructions:,} counted, {recorded[case]:,} recorded, {more}")
    lines += [f"{', '.join(case)}: recorded, not counted" for case in recorded if case not in counts]
    return lines


def _fail(lines: Iterable[str], status: int) -> typer.Exit:
    for line in lines:
        typer.echo(line, err=True)
    return typer.Exit(status)


def main(
    program: Annotated[Path, typer.Option(metavar="FILE", help="The benchmark of single kernels.")] = PROGRAM,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare with the table in FILE; exits 1 if a count is 5 % higher."),
    ] = None,
) -> None:
    """Counts the instructions of a few kernels and prints them as a Markdown table."""
    try:
        recorded = read_table(check.read_text()) if check is not None else None
        counts = {case: count(program, case) for case in CASES}
    except (CountError, OSError, ValueError) as error:
        raise _fail([str(error)], 2) from error
    typer.echo(table(counts))
    if recorded is not None and (found := differences(counts, recorded)):
        raise _fail(found, 1)


if __name__ == "__main__":
    typer.run(main)
