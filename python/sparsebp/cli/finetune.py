"""``sparsebp finetune``: from the command line to :func:`sparsebp.finetune`."""

from __future__ import annotations

import typer

from ..data import DEFAULT_TEST_SHARE
from ..data.dataset import listed
from ..distributed import Ranks
from ..distributed.ranks import TIMEOUT
from ..files import named_errors
from ..finetuning import FineTuned, Settings
from ..finetuning import finetune as run
from ..finetuning.settings import of_plan
from ..planning.plan import Plan
from . import plots
from . import recipe_options as r
from . import training_options as t
from .chosen import given, settings_of
from .company import company, own_device
from .console import out, print_pairs
from .errors import endings
from .options import (
    DEFAULT_MODEL,
    Budget,
    Device,
    Gradients,
    MicroBatch,
    Model,
    Ratio,
    ResampleEvery,
    Sampler,
    Seed,
    Threads,
    parse_input_size,
    set_threads,
)
from .pretrained import describe
from .progress import RunProgress, format_seconds
from .report import (
    accuracy_lines,
    accuracy_table,
    better,
    exchange_line,
    levels_row,
    memory_table,
    print_test,
    warn_of_lost,
    without,
)
from .scope_options import ActivationBits, NoAux, Pictures, Scope
from .task import Task, make_task


def finetune(
    context: typer.Context,
    data: t.Data = None,
    model: Model = DEFAULT_MODEL,
    weights: t.Weights = None,
    plan: t.PlanFile = None,
    input_size: r.InputSize = None,
    test_share: t.TestShare = None,
    range_: t.Range = None,
    mean: t.Mean = None,
    std: t.Std = None,
    resize: t.Resize = None,
    filter_: t.Filter = None,
    levels: t.LevelsOf = None,
    augment: r.Augment = None,
    workers: t.Workers = None,
    strict: t.Strict = False,
    budget: Budget = "256KB",
    scope: Scope = "training",
    pictures: Pictures = "arena",
    saved_bits: r.SavedBits = None,
    activation_bits: ActivationBits = None,
    micro_batch: MicroBatch = 1,
    max_update_ratio: r.MaxUpdateRatio = None,
    ratio: Ratio = None,
    gradients: Gradients = Settings.gradients,
    epochs: r.Epochs = None,
    lr: r.Rate = None,
    bias_lr: t.BiasRate = None,
    classifier_lr: t.ClassifierRate = None,
    layer_rate: t.LayerRates = None,
    no_normalise: t.NoNormalise = False,
    schedule: r.Schedule = None,
    warmup: t.Warmup = Settings.warmup,
    batch_size: r.BatchSize = None,
    sampler: Sampler = "random",
    resample_every: ResampleEvery = Settings.resample_every,
    momentum: t.MomentumOf = Settings.momentum,
    weight_decay: t.WeightDecay = Settings.weight_decay,
    label_smoothing: t.LabelSmoothing = Settings.label_smoothing,
    skip_above: r.SkipAbove = None,
    rest: r.Rest = None,
    balance: r.Balance = None,
    dropout: t.Dropout = None,
    no_train_bias: t.NoTrainBias = False,
    no_aux: NoAux = False,
    keep: r.Keep = Settings.keep,
    patience: r.Patience = None,
    average: r.Average = None,
    no_recipe: r.NoRecipe = False,
    seed: Seed = Settings.seed,
    out_folder: t.Out = None,
    resume: t.Resume = False,
    checkpoint_every: t.CheckpointEvery = 500,
    cache: r.Cache = None,
    no_dense_audit: t.NoDense = False,
    device: Device = "cpu",
    threads: Threads = None,
    timeout: t.Timeout = TIMEOUT,
    plot: t.Plot = None,
) -> None:
    """Fine-tunes a pretrained network on pictures, inside a byte budget.

    Settings that are not given are chosen to suit the pictures, their number and the budget, and said.

    Started by torchrun, several processes share the run: docs/more-machines.md.

    Without --data it shows the demo: a small network that knows printed digits meets handwriting, inside 32 KB.
    """
    if plot is not None:
        plots.check_plot_file(plot)
    settings, stated = settings_of(context), given(context)
    planned = Plan.load(plan.expanduser()) if plan is not None else None
    if planned is not None:
        of_it = of_plan(planned)
        if input_size is not None and parse_input_size(input_size) != of_it["input_size"]:
            size = "x".join(map(str, of_it["input_size"]))
            raise ValueError(
                f"input_size: {input_size} was given, but the plan was made with {size}; leave it out, or plan anew"
            )
        known = {name: value for name, value in of_it.items() if name not in stated}
        settings, stated = {**settings, **known}, stated | known.keys()
    with endings(), company(device, timeout) as ranks:
        if ranks.size > 1 and "gradients" not in stated:
            settings = {**settings, "gradients": "sum"}
        task = make_task(
            settings,
            stated,
            model=model,
            weights=weights,
            data=data,
            test_share=DEFAULT_TEST_SHARE if test_share is None else test_share,
            out=out_folder,
            resume=resume,
            recipe=not no_recipe,
            pixels={"range_": range_, "mean": mean, "std": std, "resize": resize, "filter_": filter_, "levels": levels},
            ranks=ranks,
        )
        set_threads(threads if threads is not None else task.threads)
        _header(task)
        baselines = task.baselines()
        with RunProgress(len(task.dataset.train)) as progress:
            result = run(
                task.model.to(own_device(device)),
                task.dataset,
                plan=planned,
                out=task.out,
                resume=resume,
                checkpoint_every=checkpoint_every,
                cache=cache or ("auto" if resume and not task.is_demo else None),
                recipe=task.recipe,
                workers=t.worker_count(workers) if task.threads is None else workers or 0,
                strict=strict,
                dense_audit=not no_dense_audit,
                origin=task.origin,
                observer=progress,
                ranks=ranks if isinstance(ranks, Ranks) else None,
                **task.settings,
            )
    if not ranks.first:
        return
    _conclude(result, task, baselines, progress.seconds)
    if plot is not None:
        accuracies = [(e.number, e.accuracy) for e in result.history.epochs]
        with named_errors(plot):
            plots.plot_curves(result.history.losses, accuracies, plot, task.title)
        out.print(f"curves: {plot}")


def _header(task: Task) -> None:
    data = task.dataset
    pictures = f"{len(data.train):,} training and {len(data.test):,} test pictures, {len(data.classes)} classes"
    rows = [("model", task.title), ("data", f"{task.pictures}: {data.kind}, {pictures}")]
    rows += [*task.said, ("input", describe(task.settings["preprocess"]))]
    rows += levels_row(data)
    untested = sorted(set(range(len(data.classes))) - set(data.test.labels.tolist()))
    if untested:
        rows.append(("untested", f"{listed([data.classes[label] for label in untested])}: no picture to test with"))
    print_pairs(rows)
    warn_of_lost(data.levels, data.survey)


def _conclude(result: FineTuned, task: Task, baselines: list[tuple[str, float]], seconds: float) -> None:
    out.print()
    if baselines:
        out.print(accuracy_table("What it was good for", [*baselines, ("sparsebp", result.accuracy)]))
    out.print(memory_table(result.memory, result.plan.batch_size))
    tested = result.history.last_test
    if tested is not None:  # not where an earlier sparsebp finished the run
        print_test(tested)
    text = f"{result.accuracy:.2%}{without(result.history.epochs[-1].untested)}"
    text += better(result.history, result.settings)
    out.print(f"test accuracy {text}, {format_seconds(seconds)} of training")
    if tested is not None:
        out.print("\n".join(accuracy_lines(tested)))
    if result.exchanged is not None:
        out.print(exchange_line(result.exchanged))
    if result.history.skipped:
        out.print(f"{len(result.history.skipped)} pictures could not be read and were left out")
    if result.weights is not None:
        out.print(f"weights: {result.weights}\nreport:  {result.weights.parent / 'report.json'}")
