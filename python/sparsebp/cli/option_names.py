"""What the library calls a setting, and the tool an option; and what is said of settings, said of options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..finetuning.checkpoint import OtherSettingError

_ARGUMENTS = (
    "activation_bits augment average balance batch_size bias_lr budget cache classifier_lr data dropout epochs "
    "examples gradients input_size keep label_smoothing levels lr max_update_ratio mean micro_batch model "
    "momentum no_recipe out patience plan plot resample_every resize rest sampler save saved_bits schedule scope seed "
    "skip_above std test_share timeout warmup weight_decay weights worst_sheet"
)
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in _ARGUMENTS.split()} | {
    "path": "--data",
    "run": "RUN",
    "ratios": "--ratio",
    "layer_rates": "--layer-rate",
}
"""Options by the arguments that messages of the library begin with."""
_SWITCHES = {"normalise": "--no-normalise", "train_bias": "--no-train-bias", "aux": "--no-aux"}
"""Settings that an option turns off."""


def option_of(setting: str) -> str:
    """The option of a setting."""
    return _SWITCHES.get(setting) or OPTIONS.get(setting) or f"--{setting.replace('_', '-')}"


def in_options(error: OtherSettingError) -> str:
    """What is wrong with a command line that contradicts the run that it goes on with."""
    setting, before, now = error.setting, error.before, error.now
    if setting == "preprocess" and isinstance(before, Mapping) and isinstance(now, Mapping):
        setting = next(name for name in [*now, *before] if before.get(name) != now.get(name))
        before, now = before.get(setting), now.get(setting)
        setting = {"size": "input_size"}.get(setting, setting)
    option = option_of(setting)
    if setting in _SWITCHES:
        began, got = ("without it", "it is given") if before else ("with it", "it is not")
    else:
        began, got = f"with {_text(setting, before)}", f"got {_text(setting, now)}"
    return f"{option}: the run of {error.path} began {began}, {got}; leave it out to go on, or choose another --out"


def _text(setting: str, value: Any) -> str:
    """A value of a setting, as its option takes it."""
    if value is None or value == []:
        return "none"
    if setting == "input_size":
        return "x".join(map(str, value))
    if setting == "levels":
        value = value[:2]
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(f"{one[0]}={one[1]:g}" if isinstance(one, (list, tuple)) else _text("", one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
