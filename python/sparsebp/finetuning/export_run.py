"""A plan file of a run: what it has learned so far goes on where there is no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from ..data import Preprocess
from ..files import as_path
from ..networks.names import build_model
from ..networks.pretrained import read_weights, replace_classifier
from ..training.convert import convert, restore
from ..training.export import export
from ..training.learning_rules import LearningRules
from . import checkpoint as checkpoints
from . import demo
from .checkpoint import Checkpoint, CheckpointError
from .conversion import kept_plan
from .folder import WEIGHTS
from .history import Position
from .kept import KeptEpochs
from .loop import dropout
from .saved_state import check_weights, engine_state
from .settings import Settings, of_saved

#: What gives a plan file another schedule than the run has.
_SCHEDULE = ("schedule", "warmup", "epochs", "examples", "steps")


def export_run(
    run: str | Path, path: str | Path, *, model: nn.Module | None = None, balance: str | None = None, **rules: Any
) -> Position:
    """Writes a plan file of the newest checkpoint in the folder of a run, whether that is over or not.

    Plan, weights, classes, preprocessing, rates and the state of training are the run's. The schedule of an interrupted
    run goes on where it was; that of a finished one has fallen to nothing, so that rates are constant then. What trains
    a plan file takes classes as they come: it balances none.

    Args:
        run: the folder.
        path: of the plan file.
        model: the network of the run; None builds what the run says.
        balance: ``"none"`` has the rest of an interrupted run learn without the balance that it began with.
        **rules: keywords of :func:`sparsebp.export` that differ from the run's; a schedule begins anew.

    Returns:
        How far the run is.

    Raises:
        FileNotFoundError: there is no checkpoint.
        CheckpointError: it is damaged, or of another model.
        ValueError: the run is interrupted and balances its classes, and ``balance`` is not ``"none"``.
        UnsupportedModel, TypeError, ValueError, OSError: as :func:`sparsebp.export`.
    """
    folder, place = as_path(run, "run").expanduser(), as_path(path, "path")
    latest = checkpoints.latest(folder)
    if latest is None:
        raise FileNotFoundError(f"run: there is no checkpoint of a run in {folder}")
    found = checkpoints.read(latest)
    try:
        position = Position(**found.facts["position"])
        settings = Settings(**{**of_saved(found.facts["settings"]), "sampler": "random"})  # the plan knows who draws
        classes = [str(name) for name in found.facts["data"]["classes"]]
        origin = {str(key): str(value) for key, value in found.facts["origin"].items()}
        state = engine_state(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{latest}: damaged, it lacks something ({error!r})") from error
    _check_balance(settings, position, balance)
    finished = folder / WEIGHTS if position.finished and (folder / WEIGHTS).exists() else None
    network = model if model is not None else _network(origin, len(classes), folder)
    with dropout(network, settings.dropout):
        sparse = convert(network, plan=_plan(network, settings, found))
        try:
            check_weights(found.weights, sparse.state_dict())
            sparse.engine.load_state(state)
            chosen = finished is not None and KeptEpochs.needed(settings)  # which need not be the last epoch's
            sparse.load_state_dict(read_weights(finished).tensors if chosen and finished else found.weights)
            export(
                sparse,
                place,
                classes=classes,
                preprocess=Preprocess.from_dict(found.facts["settings"]["preprocess"]),
                origin=_about(finished or latest / "weights.safetensors"),
                **_rules(settings, position, rules),
            )
        finally:
            restore(sparse)
    return position


def _check_balance(settings: Settings, position: Position, asked: str | None) -> None:
    if asked not in (None, "none"):
        raise ValueError(f"balance: expected none, got {asked!r}; what trains a plan file takes classes as they come")
    if settings.balance != "none" and not position.finished and asked is None:
        raise ValueError(
            f"balance: the run is interrupted and learns with {settings.balance}, which what trains a plan file does "
            "not know; end the run first, or give none to have the rest of it learn without"
        )


def _network(origin: Mapping[str, str], classes: int, folder: Path) -> nn.Module:
    name = origin.get("model")
    if name is None:
        raise ValueError(f"run: {folder} does not say which network it trains; give model")
    network = demo.architecture() if origin.get("data") == demo.NAME else build_model(name, classes)
    replace_classifier(network, classes)
    return network


def _plan(network: nn.Module, settings: Settings, found: Checkpoint) -> Any:
    try:
        return kept_plan(network, settings, found.facts, "arena.sums" in found.training)
    except ValueError as error:
        raise CheckpointError(f"run: its plan cannot be used: {error}") from error


def _about(weights: Path) -> dict[str, Any]:
    """What stands beside the weights of the run, apart from what a plan file says in its own words."""
    known = read_weights(weights).metadata
    return {key: value for key, value in known.items() if key not in ("classes", "preprocess", "accuracy")}


def _rules(settings: Settings, position: Position, given: Mapping[str, Any]) -> dict[str, Any]:
    own = {f.name: getattr(settings, f.name) for f in fields(LearningRules)}
    if not any(name in given for name in _SCHEDULE):
        if position.finished:
            own |= {"schedule": "constant", "warmup": 0.0}
        else:
            steps = position.steps_per_epoch
            own |= {"steps": position.epochs * steps, "done": position.epoch * steps + position.step}
    else:
        del own["schedule"], own["warmup"]
        own["done"] = 0
    return {**own, **given}
