"""What stands in the run's config."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context


def path(context: Context, name: str) -> Path:
    """A path of the run's config.

    Raises:
        ValueError: it is not given, or does not begin at the root: an app runs in a folder of Flower's.
    """
    given = Path(str(context.run_config[name]))
    if not given.is_absolute():
        raise ValueError(f"{name}: expected an absolute path, got '{given}'; flwr run --run-config \"{name}='/...'\"")
    return given


def number(context: Context, name: str) -> float:
    return float(context.run_config[name])
