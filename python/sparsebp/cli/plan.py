"""``sparsebp plan``: which layers a budget trains, and where its bytes go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..files import check_writable, named_errors
from ..networks.names import build_model
from ..training.convert import explain as explanation
from ..training.convert import min_budget as smallest_budget
from ..training.convert import plan as make_plan
from . import plots
from .console import err, out, print_json
from .options import (
    DEFAULT_MODEL,
    MEMORY,
    OUTPUT,
    Budget,
    Classes,
    Gradients,
    InputSize,
    Json,
    MaxUpdateRatio,
    MicroBatch,
    Model,
    Momentum,
    NoNormalise,
    Ratio,
    ResampleEvery,
    Sampler,
    Seed,
    parse_budget,
    parse_input_size,
    parse_ratios,
)
from .scope_options import ActivationBits, NoAux, Pictures, SavedBits, Scope


def plan(
    model: Model = DEFAULT_MODEL,
    classes: Classes = 1000,
    input_size: InputSize = "224",
    budget: Budget = "256KB",
    scope: Scope = "training",
    pictures: Pictures = "arena",
    saved_bits: SavedBits = 32,
    activation_bits: ActivationBits = None,
    micro_batch: MicroBatch = 1,
    max_update_ratio: MaxUpdateRatio = 0.02,
    ratio: Ratio = None,
    sampler: Sampler = "random",
    resample_every: ResampleEvery = 1,
    momentum: Momentum = False,
    no_normalise: NoNormalise = False,
    gradients: Gradients = "in_place",
    no_train_bias: Annotated[
        bool,
        typer.Option(
            "--no-train-bias", metavar="", help="Leave shifts and biases as they are.", rich_help_panel=MEMORY
        ),
    ] = False,
    no_aux: NoAux = False,
    seed: Seed = 0,
    min_budget: Annotated[
        bool,
        typer.Option(
            "--min-budget",
            metavar="",
            help="Print the smallest number of bytes for which there is a plan, instead of one.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", metavar="", help="Say in words why the plan is what it is.", rich_help_panel=OUTPUT),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the memory of a step (needs matplotlib).", rich_help_panel=OUTPUT),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the plan as JSON, for finetune --plan, export --plan and sparsebp.Plan.load.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Shows which layers, channels and bytes a budget would train; trains nothing."""
    if explain and (min_budget or as_json):
        raise typer.BadParameter("it goes with neither --min-budget nor --json", param_hint="--explain")
    if save is not None and min_budget:
        raise typer.BadParameter("there is no plan to write with --min-budget", param_hint="--save")
    if save is not None:
        check_writable(save, "save")
    if plot is not None:
        if min_budget:
            raise typer.BadParameter("there is no plan to draw with --min-budget", param_hint="--plot")
        plots.check_plot_file(plot)
    settings: dict[str, Any] = {
        "input_size": (3, *parse_input_size(input_size)),
        "batch_size": micro_batch,
        "max_update_ratio": max_update_ratio,
        "ratios": parse_ratios(ratio),
        "sampler": sampler,
        "resample_every": resample_every,
        "momentum": momentum,
        "normalise": not no_normalise,
        "gradients": gradients,
        "seed": seed,
        "train_bias": not no_train_bias,
        "aux": not no_aux,
        "scope": scope,
        "pictures": pictures,
        "saved_bits": saved_bits,
        "activation_bits": activation_bits,
    }
    network = build_model(model, classes)
    if min_budget:
        least = smallest_budget(network, **settings)
        if as_json:
            print_json({"min_budget": least})
        else:
            out.print(str(least))
        return
    made = make_plan(network, parse_budget(budget), **settings)
    if as_json:
        print_json(made.to_dict())
    else:
        out.print(made)
    if save is not None:
        made.save(save)
        err.print(f"saved: {save}")
    if explain:
        for paragraph in explanation(network, parse_budget(budget), **settings):
            out.print()
            out.print(paragraph)
    if plot is not None:
        with named_errors(plot):
            plots.plot_memory(made, plot)
        err.print(f"drawn: {plot}")
