"""What a command line asks to be trained: the demo, pictures of one's own, or a run to go on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ..data import DEFAULT_TEST_SHARE, Dataset, Preprocess, open_dataset
from ..data.split import BY_DRAW, BY_NAME
from ..finetuning import Settings, demo
from ..finetuning import checkpoint as checkpoints
from ..finetuning.choosing import choose
from ..finetuning.loading import weights_file
from ..finetuning.settings import of_saved
from ..finetuning.trained_on import TrainedOn, split_rule
from ..networks.pretrained import read_weights
from ..networks.zoos import is_zoo_name
from . import pretrained
from .console import err
from .pixel_values import parse_levels

DEMO, DEMO_MODEL = demo.NAME, demo.MODEL
"""What checkpoints call the demo's pictures and its model."""
USUAL_FOLDER = Path("sparsebp-run")
_DIGEST = "weights_sha256"
_RECIPE, _CHOSEN = "recipe", "chosen"
"""Whether settings that were not given were chosen, as a checkpoint says it; older ones say nothing of it."""


@dataclass(frozen=True)
class Task:
    """Everything that :func:`sparsebp.finetune` needs.

    Attributes:
        title: model and weights, for people.
        pictures: where they come from, likewise.
        model: with pretrained weights.
        said: what loading the weights did, as rows of a heading.
        dataset: the pictures.
        settings: keywords of :class:`sparsebp.finetuning.Settings`, with a ``preprocess``.
        recipe: whether the settings that are missing are to be chosen.
        origin: where all this came from, for checkpoints.
        out: folder of the run.
        threads: how many suit the model; None leaves it to torch.
    """

    title: str
    pictures: str
    model: nn.Module
    said: list[tuple[str, str]]
    dataset: Dataset
    settings: dict[str, Any]
    recipe: bool
    origin: dict[str, str]
    out: Path | None
    threads: int | None = None

    @property
    def is_demo(self) -> bool:
        """Whether the pictures are the demo's."""
        return self.origin["data"] == DEMO

    def baselines(self) -> list[tuple[str, float]]:
        """What to compare the result with: names and accuracies. Only the demo has some."""
        if not self.is_demo:
            return []
        found = demo.compare(self.dataset, self.settings["epochs"], self.settings["seed"])
        return [("nothing, as shipped", found.shipped), ("the classifier alone", found.classifier)]


def make_task(
    settings: Mapping[str, Any],
    given: set[str],
    *,
    model: str,
    weights: Path | None,
    data: Path | None,
    test_share: float,
    out: Path | None,
    resume: bool,
    recipe: bool,
    pixels: Mapping[str, str | None],
) -> Task:
    """Opens what is asked for.

    Args:
        settings: all of them, with their defaults.
        given: names of the options that stand on the command line: these win over what a checkpoint or the
            demo says.
        model, weights, data, test_share, out, resume: as on the command line.
        recipe: whether settings that are missing are to be chosen; what a run began with, and the demo's, stays, and
            False has to be what the run began with.
        pixels: ``range_``, ``mean``, ``std``, ``resize``, ``filter_`` and ``levels``, None where not given.

    Raises:
        ValueError, TypeError, FileNotFoundError, ImportError: something cannot be used.
    """
    out = out.expanduser() if out is not None else None
    weights = weights_file(weights) if weights is not None else None
    chosen = {k: v for k, v in settings.items() if k in given}
    sources = {"model": model, "weights": weights, "data": data, "test_share": test_share}
    asked = {k: str(v) for k, v in sources.items() if k in given}
    base: dict[str, Any] = dict(settings)
    saved = _saved(out or USUAL_FOLDER) if resume else None
    if saved is None and weights is not None and "model" not in given:
        model = pretrained.network_of(read_weights(weights).metadata, model)
    origin = {"model": model, "test_share": str(test_share)}
    if saved is not None:
        base, origin = of_saved(saved["settings"]), dict(saved["origin"])
        origin.setdefault("split", BY_DRAW)  # a run without a rule is from before there were two
        _check_agrees(asked, origin)
        if not recipe and origin.get(_RECIPE) == _CHOSEN:
            raise ValueError(
                "no_recipe: the run began with settings that were chosen for it, and keeps them; leave it out to go "
                "on, or choose another --out"
            )
        out = out or USUAL_FOLDER
    elif not {"model", "weights", "data"} & given:
        if resume:
            err.print(f"{out or USUAL_FOLDER} holds no run yet: this is the demo, from its beginning")
        base, origin = {**settings, **demo.SETTINGS}, {"model": DEMO_MODEL, "data": DEMO}
    else:
        out = out or USUAL_FOLDER
        origin[_RECIPE] = _CHOSEN if recipe else "none"
    origin |= asked
    if "data" not in origin:
        raise ValueError("--data is missing: where are the pictures?")
    origin.setdefault("model", model)
    made = {**base, **chosen}
    origin["seed"] = str(made["seed"])
    is_demo = origin["data"] == DEMO and "data" not in given  # a folder may be called so too
    if is_demo:
        return _demo_task(made, out, pixels)
    return _task(made, recipe and saved is None, origin, out, pixels)


def _saved(out: Path) -> Mapping[str, Any] | None:
    newest = checkpoints.latest(out)
    return None if newest is None else checkpoints.read(newest).facts


def _check_agrees(asked: Mapping[str, str], origin: Mapping[str, str]) -> None:
    """Raises ValueError unless the model and the weights that are given are those of the run; a file may have moved."""
    if "model" not in origin:
        return  # a program began it
    if asked.get("model", origin["model"]) != origin["model"]:
        raise ValueError(f"model: the run began with {origin['model']}, got {asked['model']}; leave it out to go on")
    if "weights" in asked and _digest(Path(asked["weights"])) != origin.get(_DIGEST):
        began = origin.get("weights", "none")
        raise ValueError(f"weights: {asked['weights']} differs from what the run began with, {began}")


def _digest(file: Path) -> str:
    """Of what is in it, wherever it lies; of weights of a package, of their name."""
    return hashlib.sha256(str(file).encode() if is_zoo_name(file) else file.read_bytes()).hexdigest()


def _task(
    settings: dict[str, Any], recipe: bool, origin: dict[str, str], out: Path | None, pixels: Mapping[str, Any]
) -> Task:
    share = float(origin.get("test_share", DEFAULT_TEST_SHARE))
    file = Path(origin["weights"]) if "weights" in origin else None
    weights = read_weights(file) if file is not None else None
    origin.setdefault("split", BY_NAME if weights is None else split_rule(weights.metadata))
    dataset = open_dataset(origin["data"], test_share=share, seed=settings["seed"], split=origin["split"])
    loaded = pretrained.load(origin["model"], file, dataset.classes, settings["seed"], weights)
    if "source" in loaded.weights.metadata:
        origin["source"] = str(loaded.weights.metadata["source"])
    trained_on = TrainedOn.read(loaded.weights.metadata, f"--weights: {file}")
    if trained_on is not None:
        dataset = dataset.keeping(trained_on.learned)
        if len(dataset.test) == 0:
            raise ValueError(
                f"--data: the weights were trained on every picture in {origin['data']}, so that none is left to test "
                "with; give the folder in which their test pictures are, too"
            )
    levels = pixels["levels"]
    pixels = {name: value for name, value in pixels.items() if name != "levels"}
    size = settings.get("input_size", (Settings.input_size, Settings.input_size))
    if recipe:
        size = choose(settings, dataset, loaded.weights)[0].value
    known = pretrained.preprocess_for(loaded.weights, size, settings.get("preprocess"), **pixels)
    given = parse_levels(levels) if levels is not None else None
    dataset = dataset.at_levels(given or known.levels)
    known = replace(known, levels=dataset.levels)
    title = f"{origin['model']}, {file}" if file else f"{origin['model']}, as the function makes it (no --weights)"
    if recipe:  # which is asked again, with all that is known by then
        settings = {**settings, "preprocess": known}
    else:
        settings = _with_preprocess({**settings, "input_size": size}, known)
    pictures = origin["data"]
    # In full: the run may be resumed from another directory.
    places = [k for k in ("data", "weights") if k in origin and not is_zoo_name(origin[k])]
    origin |= {k: str(Path(origin[k]).expanduser().resolve()) for k in places}
    if file is not None:
        origin[_DIGEST] = _digest(file)
    return Task(title, pictures, loaded.model, loaded.said, dataset, settings, recipe, origin, out)


def _demo_task(settings: dict[str, Any], out: Path | None, pixels: Mapping[str, Any]) -> Task:
    if any(v is not None for v in pixels.values()):
        options = "--range, --mean, --std, --resize, --filter and --levels"
        raise ValueError(f"{options} need --data: the demo's pictures are its own")
    title = "the demo's MobileNetV2 of 84 000 weights, which knows printed digits"
    dataset = demo.digits(settings["seed"])
    settings = _with_preprocess(settings, settings["preprocess"])
    origin = {"model": DEMO_MODEL, "data": DEMO}
    # Layers this small take longer to share than to compute.
    return Task(title, DEMO, demo.pretrained(), [], dataset, settings, False, origin, out, threads=1)


def _with_preprocess(settings: dict[str, Any], preprocess: Preprocess) -> dict[str, Any]:
    size = settings["input_size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    return {**settings, "input_size": size, "preprocess": replace(preprocess, size=size)}
