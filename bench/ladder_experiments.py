"""From 2 % of the weights in 256 KB to all of them in any memory: what each restriction costs in accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiment import Experiment

ALL: dict[str, Any] = {
    "max_update_ratio": 1.0,
    "saved_bits": 8,
    "lr": 6e-5,
    "bias_lr": 0.001,
    "classifier_lr": 0.0005,
}
"""As many weights a step as the budget holds, blocks may keep their inputs in 8 bits; rates that so many bear."""
EXACT: dict[str, Any] = ALL | {"saved_bits": 32}
ERASING: dict[str, Any] = {"augment": "flip,slide,erase", "rest": 1}
"""What keeps a long run from overfitting, and spares it forward passes."""
ALL_MEAN: dict[str, Any] = ERASING | {"epochs": 16, "lr": 3e-5, "schedule": "constant", "average": 10}
"""The same for `ALL` as a run at a constant rate, whose last epochs are averaged."""


def headlines(headline: Mapping[str, Any]) -> Iterator[Experiment]:
    """Runs over all pictures, judged by the test set.

    Args:
        headline: the settings of the headline, a step of which trains 2 % of the weights.
    """
    lite0, small = "efficientnet_lite0", {"budget": "128KB", "input_size": 97}

    def final(name: str, what: str, network: str = "mobilenet_v2", seeds: int = 1, **changes: Any) -> Experiment:
        return Experiment(f"headline/{name}", what, {**headline, **changes}, False, seeds, network=network)

    yield final("all", "as many weights a step as 256 KB hold", **ALL)
    yield final(
        "all mean",
        "the same, 16 epochs, mean of the last ten",
        seeds=2,
        **ALL | ALL_MEAN,
    )
    yield final("all 128KB", "as many as 128 KB hold, 97 x 97, six epochs", **ALL | small | {"epochs": 6})
    yield final(
        "all 100KB",
        "as many as 100 KB hold, 97 x 97, mean of ten",
        **ALL | ALL_MEAN | small | {"budget": "100KB"},
    )
    yield final("step", "the whole step in 256 KB, erase, rest", **ALL | ERASING, scope="step")
    yield final("lite0", "EfficientNet-Lite0, 2 %, fifteen epochs", lite0, epochs=15)
    yield final("lite0 long", "EfficientNet-Lite0, 2 %, erase, rest, 22 epochs", lite0, epochs=22, **ERASING)


def ladder(base: Mapping[str, Any]) -> Iterator[Experiment]:
    """Two epochs of a part of the training set.

    Args:
        base: the settings of the headline but for the number of epochs.
    """

    def rung(name: str, what: str, network: str = "mobilenet_v2", **changes: Any) -> Experiment:
        return Experiment(f"ladder/{name}", what, {**base, "epochs": 2, **changes}, network=network)

    yield rung("2%", "2 %, 256 KB")
    yield rung("2% 8 bits", "2 %, 256 KB, inputs in 8 bits", saved_bits=8)
    yield rung("2% 1MB", "2 %, 1 MB", budget="1MB")
    for share in (0.05, 0.2):
        yield rung(
            f"{share:.0%}", f"{share:.0%}, 256 KB, inputs in 8 bits", **ALL | {"max_update_ratio": share, "lr": None}
        )
    yield rung("all", "all that 256 KB hold, inputs in 8 bits", **ALL)
    for factor in (0.5, 2):
        yield rung(f"all {factor:g}", f"the same at {factor:g} times the rate", **ALL | {"lr": factor * ALL["lr"]})
    for size in (97, 161, 193):
        yield rung(f"all {size}", f"the same, {size} x {size} pixels", **ALL | {"input_size": size})
    yield rung("all exact 512KB", "all that 512 KB hold, exact", **EXACT | {"budget": "512KB"})
    for budget, size in (("64KB", 97), ("96KB", 97), ("128KB", 97), ("192KB", 129)):
        # With 64 KB the frozen layers leave 4 x 4 pixels, an eighth of which is no step to slide by.
        flips: dict[str, Any] = {"augment": "flip"} if budget == "64KB" else {}
        yield rung(
            f"all {budget}",
            f"all that {budget} hold, {size} x {size} pixels{', flips alone' if flips else ''}",
            **ALL | {"budget": budget, "input_size": size} | flips,
        )
    hundred: dict[str, Any] = ALL | {"budget": "100KB", "input_size": 97}
    yield rung("all 100KB", "all that 100 KB hold, 97 x 97 pixels", **hundred)
    for share in (0.25, 0.5):
        cut = {**base, "epochs": 2, **hundred}
        what = f"the same, {share:.0%} of the channels cut before, chosen by 128 pictures"
        yield Experiment(f"ladder/all 100KB pruned {share:g}", what, cut, prune=share, prune_by=128)
    everything = EXACT | {"budget": "1GB"}
    yield rung("dense", "every weight of every layer, any memory", **everything)
    for size in (161, 225):
        yield rung(f"dense {size}", f"the same, {size} x {size} pixels", **everything | {"input_size": size})
    longer: dict[str, Any] = ERASING | {"epochs": 10}
    yield rung("dense 10", "every weight of every layer, ten epochs, erase, rest", **everything | longer)
    yield rung("all 10", "all that 256 KB hold, ten epochs, erase, rest", **ALL | longer)
    yield rung("lite0 2%", "EfficientNet-Lite0, 2 %, 256 KB", "efficientnet_lite0")
    yield rung("lite0 dense", "EfficientNet-Lite0, every weight, any memory", "efficientnet_lite0", **everything)
    yield rung(
        "lite0 dense 10",
        "EfficientNet-Lite0, every weight, ten epochs, erase, rest",
        "efficientnet_lite0",
        **everything | longer,
    )
