"""Exceptions as one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ...data.broken import BrokenPicture
from ...errors import PlanFileError, TrainingDiverged
from ..stop import Interrupted
from .output import complain

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_WRONG_REQUEST = (ValueError, TypeError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)

#: The options by what they are called in Python.
_OPTIONS = {"path": "--data", **{name: f"--{name}" for name in ("data", "out", "seed", "rate", "mirror")}}


@contextmanager
def reported() -> Iterator[None]:
    """Ends the process after an exception with a line on standard error; a fault of the program keeps its traceback.

    With ``SPARSEBP_TRACEBACK=1`` in the environment every exception keeps its traceback.
    """
    try:
        yield
    except BrokenPipeError:  # whoever read the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Interrupted as error:
        _end(128 + error.signal, str(error))
    except KeyboardInterrupt:
        _end(INTERRUPTED, "interrupted")
    except (BrokenPicture, TrainingDiverged, FloatingPointError, MemoryError) as error:
        _end(FAILED, str(error) or "not enough memory")
    except PlanFileError as error:
        # The native module has one kind of error for files; a wrong place is refused before anything is written.
        _end(FAILED if "cannot be written" in str(error) else USAGE, str(error))
    except (*_WRONG_REQUEST, PermissionError) as error:
        if isinstance(error, OSError) and error.strerror:
            _end(USAGE, f"{error.filename}: {error.strerror}")
        _end(USAGE, _by_option(str(error)))
    except OSError as error:
        _end(FAILED, f"{error.filename or 'output'}: {_FULL.get(error.errno or 0, error.strerror or str(error))}")


def _by_option(words: str) -> str:
    """What is said of an argument of Python, said of the command's option."""
    argument, colon, rest = words.partition(": ")
    return f"{_OPTIONS.get(argument, argument)}{colon}{rest}"


def _end(code: int, words: str) -> None:
    if os.environ.get("SPARSEBP_TRACEBACK"):
        raise
    complain(words)
    sys.exit(code)
