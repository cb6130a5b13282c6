"""What ``finetune`` chooses by itself, against the headline's settings: on ants and bees, parts of CIFAR-10."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiment import Experiment

_BUDGET: dict[str, Any] = {"budget": "256KB"}
"""All that is given where a recipe chooses."""


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
        yield Experiment(f"recipe/headline{suffix}", f"the headline's settings{what}", headline, False, seeds, **which)
    for balance in ("none", "sampling"):
        yield Experiment(
            f"recipe/few {balance}",
            f"chosen but for balance: {balance}, {thin}",
            {**_BUDGET, "balance": balance},
            False,
            5,
            recipe=True,
            take=few,
        )
    one = {**_BUDGET, "epochs": 1}
    yield Experiment("recipe/one epoch", "chosen but for epochs: 1", one, False, recipe=True)
