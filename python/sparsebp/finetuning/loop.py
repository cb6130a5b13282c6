"""``finetune``: a whole run, from pictures to trained weights, inside a byte budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from ..data import Dataset, Levels, Preprocess, open_dataset
from ..data.split import BY_DRAW, BY_NAME
from ..devices import own_randomness
from ..files import as_path
from ..networks.pretrained import LoadedWeights, WeightFile, load_weights, read_weights, usual_preprocess
from ..networks.weight_files import not_finite
from ..planning.plan import Plan
from ..runtime.stop import Interrupted, StopRequest
from ..training.convert import restore
from . import checkpoint as checkpoints
from .cache import CHOICES, FORMS, PLACES
from .checkpoint import ORDER, Checkpoint
from .choosing import as_begun, choose, small_classes, with_choices
from .conversion import converted
from .feed import Feed, slides
from .folder import RunFolder
from .history import History
from .kept import FOLDER, KeptEpochs
from .memory import MemoryReport, dense_step_bytes, measure
from .observer import Observer
from .recipe import Choice, without_slide
from .run import Run
from .settings import Settings, check_agrees, of_plan


@dataclass(frozen=True)
class FineTuned:
    """What a run made.

    Attributes:
        model: the original module with the trained weights, in evaluation mode.
        plan: what was trained.
        history: losses and accuracies.
        memory: bytes predicted, measured and audited.
        weights: the file of the trained weights, if the run had a folder.
        loaded: what became of the weights that it began with, if they were given as a file.
        classes: the name of each output.
        settings: all of them, given, chosen, or those that a resumed run began with.
    """

    model: nn.Module
    plan: Plan
    history: History
    memory: MemoryReport
    weights: Path | None
    loaded: LoadedWeights | None = None
    classes: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)

    @property
    def accuracy(self) -> float:
        """Share of the test pictures that the model classifies correctly."""
        return self.history.accuracy


def finetune(
    model: nn.Module,
    data: Dataset | str | Path,
    *,
    weights: str | Path | None = None,
    plan: Plan | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = 500,
    cache: str | None = None,
    recipe: bool = True,
    workers: int = 0,
    strict: bool = False,
    dense_audit: bool = True,
    origin: Mapping[str, str] | None = None,
    observer: Observer | None = None,
    **settings: Any,
) -> FineTuned:
    """Fine-tunes a pretrained classifier on pictures, never using more training memory than the budget.

    The run is a function of the model, the data and the settings: interrupted and resumed it ends with the same
    bits. Torch's global random generator is left as it was. SIGINT and SIGTERM stop it between two steps, with
    a checkpoint if ``out`` is given.

    Args:
        model: float32 module on the CPU or a CUDA device, [N, 3, H, W] to [N, classes]; it is trained there, in
            place, and afterwards, also after an error, a plain module again.
        data: pictures, or a path for :func:`sparsebp.data.open_dataset`.
        weights: what to begin with, a file or ``torchvision:NAME`` or ``timm:NAME``, loaded into ``model`` by
            :func:`sparsebp.load_weights`: rows of its classifier go to the data's classes by name. Without one the
            model's outputs are the data's classes, in their order.
        plan: made before, as for :func:`sparsebp.convert`; settings that it was made with are taken from it, and given
            ones must agree.
        out: folder for checkpoints, the trained weights (``model.safetensors``) and a report (``report.json``).
        resume: go on from the newest checkpoint in ``out``; without one the run starts at the beginning. Pictures of a
            folder that came since join what is left of the epoch, those that went are left out.
        checkpoint_every: steps between two checkpoints; each epoch ends with one too.
        cache: ``"memory"`` or ``"disk"`` keeps what the frozen prefix makes of each picture (and of its mirror
            image); with no augmentation but ``flip`` and ``slide``. ``"auto"`` does so where there is room,
            ``"none"`` does not. None is ``"auto"`` with ``recipe`` and ``"none"`` without. The result is the same.
        recipe: settings of :data:`.recipe.CHOSEN` that are not given are chosen to suit pictures and budget, see
            :mod:`.recipe`; a run that is resumed keeps those it began with. Otherwise they have their plain defaults.
        workers: processes that read and resize pictures; with 0 this process does.
        strict: a picture that cannot be read ends the run, instead of being left out.
        dense_audit: also measure what a dense step of the model holds.
        origin: where ``model``, ``weights`` and ``data`` came from, in words; kept in checkpoints and reports, the
            model's also beside the weights, and their ``source`` if they came from a package. How a share was held out
            joins them.
        observer: is told what happens.
        **settings: the fields of :class:`Settings`.

    Raises:
        BudgetExceeded: no plan fits the budget.
        UnsupportedModel, TypeError, ValueError: the model, the data or a setting cannot be used.
        CheckpointError: the checkpoint is damaged or of another run.
        BrokenPicture: with ``strict``.
        TrainingDiverged: the loss grew beyond bounds or is not finite; a smaller learning rate helps. It is a
            FloatingPointError, and the last checkpoint is from before. The model holds what training made of it.
        Interrupted: a signal asked to stop.
        FileExistsError: ``out`` holds a run and ``resume`` is off, or another run is at work there.
        MemoryError: the budget, or with ``cache="memory"`` the features, are more than the machine has.
        OSError: the disk is full, or a folder cannot be written.
    """
    unknown = sorted(set(settings) - {one.name for one in fields(Settings)})
    if unknown:
        known = ", ".join(one.name for one in fields(Settings))
        raise TypeError(f"finetune: unexpected keyword argument {unknown[0]!r}; the settings are {known}")
    if plan is not None:
        if not isinstance(plan, Plan):
            raise TypeError(f"plan: expected a sparsebp.Plan, as Plan.load(path) reads it, got {type(plan).__name__}")
        settings = {**of_plan(plan), **settings}
    pixels = settings.get("preprocess")
    sized = {"input_size": pixels.size} if recipe and isinstance(pixels, Preprocess) else {}
    wanted = Settings(**{**sized, **settings})
    if plan is not None:
        check_agrees(wanted, plan)
    _check_options(checkpoint_every, workers, cache, wanted)
    place = as_path(out, "out").expanduser() if out is not None else None
    if resume and place is None:
        raise ValueError("resume: expected the folder of a run as out, got None")
    _check_model(model)
    if not isinstance(data, (Dataset, str, Path)):
        raise TypeError(f"data: expected a path or a sparsebp.data.Dataset, got {type(data).__name__}")
    begun = checkpoints.newest(place) if resume and place is not None else None
    dataset = _pictures(data, wanted, begun)
    _check_data(dataset)
    observer = observer or Observer()
    if dataset.split is not None:  # beside the weights, so that they are tested on the same pictures
        split = dataset.split
        origin = {"test_share": str(split.share), "seed": str(split.seed), "split": split.rule, **(origin or {})}
    file = read_weights(weights) if weights is not None else None
    begins_with = file or WeightFile(model.state_dict(), {})
    choices: list[Choice] = []
    if recipe and begun is not None:
        wanted = Settings(**as_begun({**sized, **settings}, begun))
    elif recipe:
        choices = choose(settings, dataset, begins_with)
        wanted = with_choices(settings, choices)
    preprocess = wanted.preprocess or usual_preprocess(begins_with, wanted.size)
    if preprocess.levels is None:
        preprocess = replace(preprocess, levels=dataset.levels)
    if file is not None and "source" in file.metadata:
        origin = {"source": str(file.metadata["source"]), **(origin or {})}
    folder = RunFolder(place, dataset, wanted, preprocess, origin or {}) if place is not None else None
    training = model.training
    kept = KeptEpochs.needed(wanted)
    with (
        folder or nullcontext(),
        TemporaryDirectory() if kept and folder is None else nullcontext(place) as room,
        StopRequest() as stop,
        own_randomness(model),
        dropout(model, wanted.dropout),
    ):
        earlier = folder.open(resume) if folder else None
        loaded = load_weights(model, file, dataset.classes, seed=wanted.seed) if file is not None else None
        if loaded is not None:
            observer.loaded(loaded)
        torch.manual_seed(wanted.seed)
        dense = dense_step_bytes(model, wanted.size, wanted.micro_batch) if dense_audit else None
        stop.check()
        sparse = converted(model, wanted, earlier, plan)
        try:
            if "slide" in wanted.augment and "augment" not in settings and choices and not slides(sparse):
                choices = [without_slide(c, cache) if c.name == "augment" else c for c in choices]
                wanted = with_choices(settings, choices)
                if folder is not None:
                    folder.settle(wanted)
            if choices:
                observer.chosen(choices, small_classes(dataset))
            feed = Feed(sparse, dataset, preprocess, wanted, workers, strict, observer)
            about = folder.about() if folder is not None else {}
            ends = KeptEpochs(Path(room) / FOLDER, wanted, about) if kept and room is not None else None
            run = Run(sparse, feed, wanted, folder, checkpoint_every, observer, stop, ends)
            with feed:
                change = run.load(earlier) if earlier is not None else None
                observer.settled(wanted)
                observer.planned(sparse.plan, run.position)
                if change is not None and folder is not None and folder.changed:
                    observer.changed(change)
                stop.check()
                if not run.position.finished:
                    where = feed.usual_cache(place) if cache == "auto" or (cache is None and recipe) else cache
                    if where in PLACES:
                        feed.cache(where, place, stop)
                    feed.check_classes()
                run.train()
                run.end()
            memory = measure(sparse, dense, run.peak)
        except Interrupted as request:
            raise Interrupted(request.signal, folder.newest() if folder else None) from None
        finally:
            restore(sparse)
            model.train(training)
        model.eval()
        made = folder.finish(model, run.history, memory, feed.order.keys) if folder else None
    return FineTuned(model, sparse.plan, run.history, memory, made, loaded, dataset.classes, wanted)


@contextmanager
def dropout(model: nn.Module, probability: float | None) -> Iterator[None]:
    """Inside, the model's dropout layers have this probability; None leaves them alone."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    before = [layer.p for layer in layers]
    try:
        if probability is not None:
            for layer in layers:
                layer.p = probability
        yield
    finally:
        for layer, p in zip(layers, before, strict=True):
            layer.p = p


def _pictures(data: Dataset | str | Path, wanted: Settings, begun: Checkpoint | None) -> Dataset:
    """What to learn from; a run that goes on keeps what it learned from before, and its levels."""
    rule = BY_NAME if begun is None else begun.facts.get("origin", {}).get("split", BY_DRAW)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, seed=wanted.seed, split=rule)
    if begun is None:
        return dataset
    if ORDER in begun.training:
        dataset = dataset.keeping(begun.training[ORDER].numpy())
    preprocess = begun.facts.get("settings", {}).get("preprocess", {})
    return dataset.at_levels(Levels.parse(preprocess.get("levels")))


def _check_options(checkpoint_every: int, workers: int, cache: str | None, settings: Settings) -> None:
    for name, value, least in (("checkpoint_every", checkpoint_every, 1), ("workers", workers, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    if cache is not None and cache not in CHOICES:
        raise ValueError(f"cache: expected {', '.join(CHOICES)} or None, got {cache!r}")
    if cache in PLACES and settings.augment not in FORMS:
        raise ValueError(
            f"cache: with augment={','.join(settings.augment)} a picture is never the same twice; only flip and "
            "slide go with a cache"
        )


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    other = next((n for n, p in model.named_parameters() if p.dtype != torch.float32), None)
    if other is not None:
        raise TypeError(f"model: pictures become float32, but {other} is {model.get_parameter(other).dtype}")
    bad = not_finite({name: p.detach() for name, p in model.named_parameters()})
    if bad is not None:
        raise ValueError(f"model: {bad} holds numbers that are not finite")


def _check_data(dataset: Dataset) -> None:
    for title, source in (("training", dataset.train), ("test", dataset.test)):
        if len(source) == 0:
            raise ValueError(f"data: there is no {title} picture")
        if int(source.labels.min()) < 0 or int(source.labels.max()) >= len(dataset.classes):
            raise ValueError(
                f"data: expected labels 0 to {len(dataset.classes) - 1} for {len(dataset.classes)} classes, got "
                f"{int(source.labels.min())} to {int(source.labels.max())} in the {title} set"
            )
