"""What ``finetune`` chooses by itself, against the headline's settings and dense training: on any data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiment import Experiment
from ladder_experiments import EXACT

_BUDGET: dict[str, Any] = {"budget": "256KB"}
"""All that is given where a recipe chooses."""
_FEW: dict[str, Any] = _BUDGET | {"max_update_ratio": 0.02}
"""The same where a step may train 2 % of the weights."""
_DENSE: dict[str, Any] = EXACT | {"budget": "1GB"}
"""Every weight of every layer: what the same pictures, passes and rates give without a limit to memory."""


def recipes(headline: Mapping[str, Any]) -> Iterator[Experiment]:
    """Those experiments.

    Args:
        headline: the settings of the headline.
    """
    few, thin = (12, None), "12 pictures of the first class, all of the others"
    parts: list[tuple[str, str, int, dict[str, Any]]] = [
        ("", "", 5, {}),
        (" few", f", {thin}", 5, {"take": few}),
        (" 300", ", 300 pictures", 3, {"take": 300, "judges": 1000}),
        (" 3000", ", 3,000 pictures", 1, {"take": 3000, "judges": 1000}),
    ]
    for suffix, what, seeds, which in parts:
        yield Experiment(f"recipe/chosen{suffix}", f"chosen{what}", _BUDGET, False, seeds, recipe=True, **which)
        yield Experiment(f"recipe/2%{suffix}", f"chosen, 2 %{what}", _FEW, False, seeds, recipe=True, **which)
        yield Experiment(f"recipe/dense{suffix}", f"every weight{what}", _DENSE, False, seeds, recipe=True, **which)
        yield Experiment(f"recipe/headline{suffix}", f"the headline's settings{what}", headline, False, seeds, **which)
    for balance in ("none", "sampling"):
        yield Experiment(
            f"recipe/few {balance}",
            f"chosen but for balance: {balance}, 2 %, {thin}",
            {**_FEW, "balance": balance},
            False,
            5,
            recipe=True,
            take=few,
        )
    for name, given in (("one epoch", _BUDGET), ("one epoch 2%", _FEW)):
        share = ", 2 %" if given is _FEW else ""
        yield Experiment(
            f"recipe/{name}", f"chosen but for epochs: 1{share}", {**given, "epochs": 1}, False, recipe=True
        )
