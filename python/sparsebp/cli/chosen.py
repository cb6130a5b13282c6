"""What a command line chooses, by the names that the library has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import typer

from ..finetuning import Settings
from ..finetuning.recipe import CHOSEN
from .options import parse_budget, parse_input_size, parse_layer_rates, parse_ratios

#: Parameters of a command that are called otherwise than a setting, or whose text means something.
_MEANINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "budget": ("budget", parse_budget),
    "input_size": ("input_size", parse_input_size),
    "ratio": ("ratios", lambda texts: parse_ratios(texts) or None),
    "layer_rate": ("layer_rates", lambda texts: parse_layer_rates(texts) or None),
    "no_normalise": ("normalise", lambda off: not off),
    "no_train_bias": ("train_bias", lambda off: not off),
    "no_aux": ("aux", lambda off: not off),
}


def settings_of(context: typer.Context) -> dict[str, Any]:
    """The settings of a run that a command has options for, with their defaults; none where a recipe has a say."""
    known = {field.name for field in fields(Settings)}
    chosen = {}
    for name, value in context.params.items():
        setting, meaning = _MEANINGS.get(name, (name, lambda same: same))
        if setting in known and not (setting in CHOSEN and value is None):
            chosen[setting] = meaning(value)
    return chosen


def given(context: typer.Context) -> set[str]:
    """The settings and other parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    there = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    return {_MEANINGS[name][0] if name in _MEANINGS else name for name in there}


def check_end(settings: Mapping[str, Any], known: bool) -> None:
    """Raises BadParameter where a plan file's schedule has no end.

    Args:
        settings: with ``epochs``, ``examples``, ``schedule`` and ``warmup``; None where not given.
        known: whether something else says how many pictures an epoch has.
    """
    epochs, examples, schedule = settings["epochs"], settings["examples"], settings["schedule"]
    if epochs is not None and examples is None and not known:
        raise typer.BadParameter("--epochs: it wants --examples beside it, how many pictures an epoch has")
    if examples is not None and epochs is None:
        raise typer.BadParameter("--examples: it wants --epochs beside it, how often all are shown")
    asked = f"--schedule {schedule}" if schedule not in (None, "constant") else "--warmup" if settings["warmup"] else ""
    if asked and epochs is None:
        raise typer.BadParameter(f"{asked}: it has to know where the run ends; give --epochs and --examples too")
