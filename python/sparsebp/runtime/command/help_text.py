"""How ``--help`` looks."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress


class HelpText(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, on lines of the terminal's width.

    argparse would ask ``shutil`` for the width, which loads what unpacks archives: half a megabyte for every run.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Of the terminal; 80 where there is none."""
    with suppress(KeyError, ValueError):
        return max(40, int(os.environ["COLUMNS"]))
    with suppress(AttributeError, OSError, ValueError):
        return max(40, os.get_terminal_size(sys.stdout.fileno()).columns)
    return 80
