"""Exit codes, and how an exception becomes one line and one of them."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import IO, cast

import typer
from rich.text import Text

from ..data import BrokenPicture
from ..errors import BudgetExceeded, UnsupportedModel
from ..finetuning import Interrupted
from ..finetuning.checkpoint import OtherSettingError
from .console import err
from .option_names import OPTIONS, in_options

#: typer imports click or brings its own copy, depending on its version; this finds the class in both.
CommandLineError = cast(type[Exception], typer.BadParameter.__mro__[2])  # BadParameter, UsageError, ClickException

_WRONG_REQUEST = (
    ValueError,
    TypeError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
    ImportError,
    UnsupportedModel,
)
_FAILED = (OSError, MemoryError, FloatingPointError, RuntimeError)
_BUGS = (NotImplementedError, RecursionError, UnboundLocalError)
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


class Exit(IntEnum):
    """What the tool exits with."""

    OK = 0
    FAILED = 1
    """It went wrong while it ran: a full disk, a loss that diverged, a broken picture under ``--strict``."""
    USAGE = 2
    """The request is wrong: an option, a folder, a file, the weights, the model."""
    BUDGET = 3
    """No plan fits the budget."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM."""


@contextmanager
def reported() -> Iterator[None]:
    """Turns exceptions into one line on standard error and an exit code; a bug keeps its traceback.

    With ``SPARSEBP_TRACEBACK=1`` in the environment every error shows its traceback as well.
    """
    try:
        yield
        sys.stdout.flush()
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        _fail(Exit.INTERRUPTED, "sparsebp: interrupted")
    except typer.Abort:
        _fail(Exit.INTERRUPTED, "sparsebp: interrupted")
    except BrokenPipeError:
        _discard(sys.stdout)  # whoever read it has seen enough
        _discard(sys.stderr)
        raise SystemExit(Exit.FAILED) from None
    except _BUGS:
        raise
    except CommandLineError as error:
        _fail(_code_of(error), _with_hint(error))
    except BudgetExceeded as error:
        _fail(Exit.BUDGET, message(error))
    except _WRONG_REQUEST as error:
        _fail(Exit.USAGE, message(error))
    except _FAILED as error:
        _fail(Exit.FAILED, message(error))


@contextmanager
def endings() -> Iterator[None]:
    """Around work on pictures: a signal and, with --strict, a broken picture have exit codes of their own."""
    try:
        yield
    except Interrupted as request:
        err.print(f"sparsebp: {request}")
        raise SystemExit(128 + request.signal) from None
    except BrokenPicture as broken:
        _fail(Exit.FAILED, str(broken))


def message(error: BaseException) -> str:
    """What is wrong, in words: without ``[Errno 2]``, and never empty."""
    if isinstance(error, OSError) and error.errno is not None:
        what = _FULL.get(error.errno) or (error.strerror or os.strerror(error.errno)).lower()
        where = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return f"{' -> '.join(where) or 'standard output'}: {what}"
    if isinstance(error, OtherSettingError):
        return in_options(error)
    if isinstance(error, MemoryError) and not str(error):
        return "out of memory"
    argument, colon, rest = str(error).partition(": ")
    if colon and argument in OPTIONS:
        return f"{OPTIONS[argument]}: {rest}"
    return str(error) or type(error).__name__


def _fail(code: Exit, text: str) -> None:
    if os.environ.get("SPARSEBP_TRACEBACK", "0") not in ("", "0"):
        traceback.print_exc()
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)
    prefix = "" if code == Exit.INTERRUPTED else "sparsebp: error: "
    err.print(Text.assemble((prefix, "bold red"), text))
    raise SystemExit(code) from None


def _discard(stream: IO[str]) -> None:
    """Sends what is still buffered, and all that follows, nowhere: Python flushes once more when it ends."""
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    except (OSError, ValueError):  # a stream without a descriptor
        pass


def _code_of(error: Exception) -> Exit:
    return Exit.USAGE if getattr(error, "exit_code", 2) == Exit.USAGE else Exit.FAILED


def _with_hint(error: Exception) -> str:
    """The message of an error in the command line itself, named after its option, and where to look."""
    parameter, text = getattr(error, "param", None), str(getattr(error, "message", ""))
    option = getattr(error, "param_hint", None) or (parameter.opts[0] if parameter is not None else "")
    if type(error) is typer.BadParameter and text:
        text = text.removeprefix(f"{option.strip('-').replace('-', '_')}: ") if option else text
        text = f"{option}: {text}".removeprefix(": ")
    else:
        text = str(error.format_message())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sparsebp"
    return f"{text}\nTry '{command} --help'."
