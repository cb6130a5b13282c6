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
from ..distributed import RankFailed, Ranks
from ..distributed.agreement import check_same
from ..distributed.alone import Alone
from ..files import as_path
from ..networks.pretrained import LoadedWeights, WeightFile, load_weights, read_weights, usual_preprocess
from ..planning.plan import Plan
from ..runtime.stop import Interrupted, StopRequest
from ..training.convert import restore
from . import checkpoint as checkpoints
from .arguments import check_data, check_model, check_options
from .cache import PLACES
from .checkpoint import ORDER, Checkpoint
from .choosing import as_begun, choose, small_classes, with_choices
from .conversion import converted
from .feed import Feed, slides
from .folder import RunFolder
from .history import History
from .identity import Identity
from .kept import FOLDER, KeptEpochs
from .memory import MemoryReport, dense_step_bytes, measure
from .observer import Observer
from .recipe import Choice, without_slide
from .rest import check_some_rest
from .run import Run
from .settings import Settings, check_agrees, of_plan
from .steps import check_ranks


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
        exchanged: between ranks, in bytes (:class:`sparsebp.distributed.Traffic`); None of a run without any.
    """

    model: nn.Module
    plan: Plan
    history: History
    memory: MemoryReport
    weights: Path | None
    loaded: LoadedWeights | None = None
    classes: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    exchanged: Mapping[str, Any] | None = None

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
    ranks: Ranks | None = None,
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
            image); with no augmentation but ``flip``, ``slide`` and ``erase``. ``"auto"`` does so where there is room,
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
        ranks: processes that share the run, all of which call this with the same arguments: each takes its part of
            every batch and of the test pictures. Only the first reads and writes ``out``; ``gradients`` is ``"sum"``.
            The run is that of one process within rounding, and may be resumed with another number of ranks.
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
        RanksDiffer, RankFailed: the ranks were given different things, or another one failed.
    """
    company = ranks if ranks is not None and ranks.size > 1 else Alone()
    if company.size > 1:
        settings = {"gradients": "sum", **settings}
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
    check_options(checkpoint_every, workers, cache, wanted)
    place = as_path(out, "out").expanduser() if out is not None else None
    if resume and place is None:
        raise ValueError("resume: expected the folder of a run as out, got None")
    check_model(model)
    if not isinstance(data, (Dataset, str, Path)):
        raise TypeError(f"data: expected a path or a sparsebp.data.Dataset, got {type(data).__name__}")
    begun = company.from_first(checkpoints.newest(place) if resume and place is not None and company.first else None)
    dataset = _pictures(data, wanted, begun)
    check_data(dataset)
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
        choices = choose(settings, dataset, begins_with, _on_processor(model))
        wanted = with_choices(settings, choices)
    preprocess = wanted.preprocess or usual_preprocess(begins_with, wanted.size)
    if preprocess.levels is None:
        preprocess = replace(preprocess, levels=dataset.levels)
    if file is not None and "source" in file.metadata:
        origin = {"source": str(file.metadata["source"]), **(origin or {})}
    check_ranks(wanted, company)
    check_some_rest(wanted.rest, wanted.skip_above)
    check_same(company, {"picture or setting": Identity(wanted, preprocess, dataset).facts})
    writes = place is not None and company.first
    folder = RunFolder(place, dataset, wanted, preprocess, origin or {}) if place is not None and writes else None
    training = model.training
    kept = KeptEpochs.needed(wanted) and company.first
    with (
        folder or nullcontext(),
        TemporaryDirectory() if kept and folder is None else nullcontext(place) as beside,
        StopRequest() as stop,
        own_randomness(model),
        dropout(model, wanted.dropout),
    ):
        earlier = folder.open(resume) if folder else begun
        loaded = load_weights(model, file, dataset.classes, seed=wanted.seed) if file is not None else None
        if loaded is not None:
            observer.loaded(loaded)
        torch.manual_seed(wanted.seed)
        dense = dense_step_bytes(model, wanted.size, wanted.micro_batch) if dense_audit and company.first else None
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
            feed = Feed(sparse, dataset, preprocess, wanted, workers, strict, observer, company.shard)
            about = folder.about() if folder is not None else {}
            ends = KeptEpochs(Path(beside) / FOLDER, wanted, about) if kept and beside is not None else None
            run = Run(sparse, feed, wanted, folder, checkpoint_every, observer, stop, ends, company)
            with feed:
                change = run.load(earlier) if earlier is not None else None
                observer.settled(wanted)
                observer.planned(sparse.plan, run.position)
                if change is not None and folder is not None and folder.changed:
                    observer.changed(change)
                stop.check()
                if not run.position.finished:
                    room = place if place is not None and place.is_dir() else None
                    copies, usual = company.on_this_machine, cache == "auto" or (cache is None and recipe)
                    where = feed.usual_cache(room, copies) if usual else cache
                    if where in PLACES:
                        feed.cache(where, room, stop, copies)
                    feed.check_classes()
                run.train()
                run.end()
            memory = measure(sparse, dense, run.peak)
        except Interrupted as request:
            raise Interrupted(request.signal, folder.newest() if folder else None) from None
        except RankFailed as failed:
            saved = folder.newest() if folder else None
            said = f"{failed}{f'; resume from {saved}' if saved else ''}"
            raise RankFailed(said, failed.ranks, failed.silent) from failed
        finally:
            restore(sparse)
            model.train(training)
        model.eval()
        made = folder.finish(model, run.history, memory, feed.order.keys, run.exchanged) if folder else None
    return FineTuned(model, sparse.plan, run.history, memory, made, loaded, dataset.classes, wanted, run.exchanged)


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


def _on_processor(model: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in model.parameters())
