"""The commands, and the way into them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.main import get_command

from .. import __version__
from .bench import bench
from .console import is_terminal, out
from .errors import Exit, reported
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .info import info
from .merge import merge
from .plan import plan
from .predict import predict

EPILOG = (
    "Exit codes: 0 done; 1 failed while running (disk full, loss diverged); 2 wrong request (an option, a file, "
    "the weights, the model); 3 no plan fits the budget; 130 interrupted; 143 terminated."
)

app = typer.Typer(
    name="sparsebp",
    epilog=EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (finetune, plan, export, evaluate, predict, merge, bench, info):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"sparsebp {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _sparsebp(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", metavar="", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tunes pretrained convolutional networks inside a byte budget."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(Exit.USAGE)


def _as_written(command: Any) -> None:
    """Lets rich take the help of a command and its options as text: brackets are no markup, a line break is a space."""
    paragraphs = (command.help or "").split("\n\n")
    command.help = escape("\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))
    for parameter in command.params:
        parameter.help = escape(getattr(parameter, "help", None) or "")
    for inner in getattr(command, "commands", {}).values():
        _as_written(inner)


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the caller closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name need not be text


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the tool with ``arguments`` (those of the process), and exits with one of ``Exit``."""
    with reported():
        _prepare_streams()
        app.rich_markup_mode = "rich" if is_terminal() else None
        tool = get_command(app)
        if app.rich_markup_mode is not None:
            _as_written(tool)
        status = tool.main(args=arguments, prog_name="sparsebp", standalone_mode=False)
        if status == Exit.INTERRUPTED:  # typer made a number of it
            raise KeyboardInterrupt
    raise SystemExit(status or Exit.OK)
