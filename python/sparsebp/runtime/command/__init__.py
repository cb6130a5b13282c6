"""The command ``sparsebp-runtime``; also ``python -m sparsebp.runtime``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from ...version import __version__
from . import bench, delta, info, predict, train
from .errors import reported
from .help_text import HelpText

_EPILOG = """exit codes:
  0 well done   1 it failed while it ran: a full disk, a loss that diverged, a picture that cannot be read
  2 the request is wrong: an option, a file, a folder   130 stopped by Ctrl-C   143 stopped by SIGTERM
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; ends the process with one of the exit codes that ``--help`` lists."""
    _prepare_output()
    parser = argparse.ArgumentParser(
        prog="sparsebp-runtime",
        description="Trains and uses convolutional networks from sparsebp's plan files, inside their budget of memory.",
        epilog=_EPILOG,
        formatter_class=HelpText,
    )
    parser.add_argument("--version", action="version", version=f"sparsebp-runtime {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (info, train, predict, bench, delta):
        words = (module.__doc__ or "").strip()
        name = module.__name__.rpartition(".")[2]
        made = commands.add_parser(name, help=words.splitlines()[0], description=words, formatter_class=HelpText)
        module.add_arguments(made)
        made.set_defaults(run=module.run, parser=made)
    given = parser.parse_args(arguments)
    with reported():
        code = given.run(given)
        sys.stdout.flush()
    sys.exit(code)


def _prepare_output() -> None:
    if sys.stdout is None:  # the caller closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be text
