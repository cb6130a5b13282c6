"""Trains a network under many plans and settings, and says what each is worth in accuracy.

python bench/accuracy.py run --data DATA --weights FILE [NAME ...]
python bench/accuracy.py table
python bench/accuracy.py plot
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import sparsebp
import typer
from experiment_pictures import draw_all
from experiment_runs import RESULTS, Job, read_results, run_all, threads_each
from experiment_tables import markdown, summary
from experiments import CHOSEN, EXPERIMENTS, Experiment
from rich.table import Table
from sparsebp.benchmark.environment import usable_cores
from sparsebp.cli import plots
from sparsebp.cli.console import err, out
from sparsebp.cli.errors import Exit, reported
from sparsebp.files import write_atomically
from typer.main import get_command

app = typer.Typer(
    help="Trains a network under many plans and settings, and says what each is worth in accuracy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Experiments, with * for several, such as 'budget/*'; all without any."),
]
Folder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help=f"Of the runs and {RESULTS}.")]
DEFAULT_OUT = Path("bench/results")


@app.command("list")
def show(names: Names = None) -> None:
    """Lists the experiments."""
    table = Table("experiment", "what", "pictures", "seeds", box=None, pad_edge=False)
    for experiment in chosen(names):
        table.add_row(experiment.name, experiment.what, experiment.pictures, str(experiment.seeds))
    out.print(table)


@app.command()
def run(
    data: Annotated[Path, typer.Option(metavar="PATH", help="Pictures, as for sparsebp finetune.")],
    weights: Annotated[Path, typer.Option(metavar="FILE", help="Pretrained weights of the experiments' network.")],
    names: Names = None,
    folder: Folder = DEFAULT_OUT,
    jobs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Runs at once; one a core unless given.")] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", min=1, help="Of each; its own number unless given.")] = None,
) -> None:
    """Carries out experiments; what has a result already is left out, what was interrupted goes on."""
    at_once = jobs or usable_cores()
    done = {result["identity"] for result in read_results(folder)}
    wanted = [
        Job(experiment, seed, data.resolve(), weights.resolve(), folder, threads_each(at_once))
        for experiment in chosen(names)
        for seed in range(seeds or experiment.seeds)
    ]
    due = [job for job in wanted if job.identity not in done]
    err.print(f"{len(due)} runs to do, {len(wanted) - len(due)} done already, {at_once} at a time")
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for job, result in run_all(due, at_once):
        if isinstance(result, Exception):
            failed.append(job.title)
            err.print(f"{job.title}: failed: {str(result) or type(result).__name__}", markup=False)
        else:
            out.print(f"{job.title}: {result['accuracy']:.2%}")
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(due)} runs failed: {', '.join(failed)}; once more tries them again")


@app.command()
def table(
    names: Names = None,
    folder: Folder = DEFAULT_OUT,
    file: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write it as Markdown.")] = None,
) -> None:
    """Shows the results so far: mean over seeds, and half the distance of the extremes."""
    results = read_results(folder)
    if not results:
        err.print(f"there are no results in {folder / RESULTS} yet")
    rows = summary(chosen(names), results)
    if file is not None:
        write_atomically(file, markdown(rows).encode())
        return
    shown = Table("experiment", "what", "accuracy", "runs", "layers", "weights", "peak bytes", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(row.name, row.what, row.accuracy, str(row.runs), row.layers, row.weights, row.peak)
    out.print(shown)


@app.command()
def plot(
    folder: Folder = DEFAULT_OUT,
    pictures: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the pictures go.")] = DEFAULT_OUT,
) -> None:
    """Draws accuracy over budget, update ratio and epochs, coverage over time, and the memory of a step."""
    plots.require_matplotlib()
    pictures.mkdir(parents=True, exist_ok=True)
    for made in draw_all(EXPERIMENTS, read_results(folder), pictures):
        out.print(str(made))
    step = pictures / "memory.png"
    side, budget, cap = (CHOSEN[k] for k in ("input_size", "budget", "max_update_ratio"))
    model = sparsebp.models.mobilenet_v2(10)
    plan = sparsebp.plan(model, budget, input_size=(3, side, side), max_update_ratio=cap, normalise=True)
    plots.plot_memory(plan, step)
    out.print(str(step))


def chosen(names: list[str] | None) -> list[Experiment]:
    """The experiments that fit any of the patterns.

    Raises:
        typer.BadParameter: a pattern fits none.
    """
    for pattern in names or ():
        if not any(fnmatchcase(e.name, pattern) for e in EXPERIMENTS):
            raise typer.BadParameter(f"no experiment is called {pattern}; `list` shows them all")
    return [e for e in EXPERIMENTS if not names or any(fnmatchcase(e.name, pattern) for pattern in names)]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line, with the exit codes of ``sparsebp``."""
    with reported():
        if get_command(app).main(arguments, Path(__file__).name, standalone_mode=False) == Exit.INTERRUPTED:
            raise KeyboardInterrupt


if __name__ == "__main__":
    main()
