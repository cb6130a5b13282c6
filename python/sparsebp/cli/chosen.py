"""What a command line chooses, by the names that the library has for it."""

from __future__ import annotations

from collections.abc import Callable
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
