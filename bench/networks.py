"""What sparsebp makes of networks of torchvision, timm and others: docs/networks.md's table.

python bench/networks.py --help
"""

from __future__ import annotations

import fnmatch
import json
import multiprocessing
import sys
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from network_tables import markdown, terminal_table
from rich.progress import track
from sparsebp.benchmark.any_network import measure
from sparsebp.cli.console import err, is_terminal, out
from sparsebp.files import check_writable

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))  # the catalogue is the tests'

Row = dict[str, Any]
SECONDS = 300
_FORK = multiprocessing.get_context("fork")  # what is imported is imported once


def matching(names: Sequence[str], pattern: str) -> list[str]:
    """Names of the catalogue: those given, or all that a glob matches."""
    from zoo import NETWORKS

    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise typer.BadParameter(f"expected names that --list prints, got {unknown[0]!r}")
    return [name for name in names or NETWORKS if fnmatch.fnmatchcase(name, pattern)]


def row(name: str) -> Row:
    """Makes the network and measures it here."""
    from zoo import network

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the libraries
    model, size = network(name)
    return measure(model, size).to_dict()


def row_of_its_own(name: str, seconds: float) -> Row:
    """In a process of its own: whatever it does, its memory comes back, and the others are measured."""
    answers, end = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_answer, args=(name, end))
    process.start()
    end.close()
    try:
        if answers.poll(seconds):
            return answers.recv()
        process.kill()
        return {"failed": f"took more than {seconds:.0f} seconds"}
    except EOFError:
        process.join()
        return {"failed": f"its process ended with {process.exitcode}"}
    finally:
        process.join()


def _answer(name: str, end: Connection) -> None:
    try:
        end.send(row(name))
    except BaseException as error:
        end.send({"failed": " ".join(f"{type(error).__name__}: {error}".split())})


def rows(names: Sequence[str], seconds: float) -> Iterator[tuple[str, Row]]:
    """One network after the other, with a bar in a terminal and a line each anywhere else."""
    if is_terminal(sys.stderr):
        for name in track(names, "networks", console=err, transient=True):
            yield name, row_of_its_own(name, seconds)
        return
    for i, name in enumerate(names, 1):
        err.print(f"{i} of {len(names)}: {name}")
        yield name, row_of_its_own(name, seconds)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Of the catalogue; all if none is given.")] = None,
    pattern: Annotated[str, typer.Option("--filter", metavar="GLOB", help="Only names that match.")] = "*",
    show_list: Annotated[bool, typer.Option("--list", metavar="", help="Print the names and do nothing.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="For one network.")] = SECONDS,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the numbers to FILE.")
    ] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write the table into FILE, behind what it says before it."),
    ] = None,
) -> None:
    """Plans, converts and times each network of the catalogue, batch 1, one thread, untrained weights."""
    chosen = matching(names or [], pattern)
    if show_list:
        out.print("\n".join(chosen))
        return
    for file in (json_file, markdown_file):
        if file is not None:
            check_writable(file, "the table")
    found: dict[str, Row] = {}
    for name, measured in rows(chosen, timeout):
        found[name] = measured
        if json_file is not None:  # after each, so that what was measured stays if the rest is interrupted
            json_file.write_text(json.dumps(found, indent=1))
        if markdown_file is not None:
            markdown(found, markdown_file)
    if markdown_file is None:
        out.print(terminal_table(found))


if __name__ == "__main__":
    typer.run(main)
