"""``sparsebp export``: a plan file, which trains without torch and without Python; or an ONNX file, which predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ..files import check_writable
from ..finetuning import Settings
from ..finetuning.checkpoint import newest
from ..finetuning.export_run import export_run
from ..finetuning.folder import WEIGHTS
from ..finetuning.loop import dropout as with_dropout
from ..finetuning.settings import check_agrees, of_plan
from ..networks.pretrained import read_weights
from ..networks.widening import widen
from ..networks.zoos import is_zoo_name
from ..planning.plan import Plan
from ..runtime.locks import only_writer
from ..training.convert import convert
from ..training.export import export as write
from ..training.learning_rules import LearningRules
from ..training.schedule import SCHEDULES
from . import training_options as t
from .chosen import check_end, given, settings_of
from .console import print_json, print_pairs
from .exported import facts_of, sizes_of
from .given_weights import given_weights
from .numbers import whole
from .onnx_file import OnnxFile, check_options, write_onnx
from .option_names import option_of
from .options import (
    DEFAULT_MODEL,
    MODEL,
    OUTPUT,
    TRAINING,
    Budget,
    Gradients,
    Json,
    MaxUpdateRatio,
    MicroBatch,
    Model,
    Ratio,
    ResampleEvery,
    Sampler,
    Seed,
    checked,
    parse_input_size,
)
from .outputs import Classes, Outputs, SpareClasses, outputs_of, parse_classes
from .pretrained import describe, load, network_of, preprocess_for
from .scope_options import ActivationBits, NoAux, Pictures, SavedBits, Scope

RunFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="Folder of a run of sparsebp finetune, whose newest checkpoint goes on; --onnx takes weights too.",
    ),
]
Size = Annotated[
    str,
    typer.Option(
        "--input-size",
        metavar="SIZE",
        help="Pixels of the network's input: 224, or height x width such as 128x160. [default: what weights of "
        "sparsebp were trained with, or else 224]",
        callback=checked(parse_input_size),
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="N",
        parser=whole(1),
        help="Passes over --examples, with the last of which the schedule ends. [default: none, it has no end]",
        rich_help_panel=TRAINING,
    ),
]
Examples = Annotated[
    int | None,
    typer.Option(
        "--examples",
        metavar="N",
        parser=whole(1),
        help="Pictures of an epoch. [default: the training pictures of --data]",
        rich_help_panel=TRAINING,
    ),
]
Balance = Annotated[
    str | None,
    typer.Option(
        "--balance",
        metavar="none",
        help="Have the rest of an interrupted run learn without the balance that it began with.",
        callback=t.one_of(("none",)),
        rich_help_panel=TRAINING,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="|".join(SCHEDULES),
        callback=t.one_of(SCHEDULES),
        help="How the rate falls. [default: cosine with --epochs, or else constant]",
        rich_help_panel=TRAINING,
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="The plan file, plan.safetensors say.", rich_help_panel=OUTPUT),
]

#: What may be asked for beside a run; the rest is the run's.
_OF_RULES = {f.name for f in fields(LearningRules)} - {"normalise", "momentum"} | {"epochs", "examples", "balance"}


def export(
    context: typer.Context,
    run: RunFolder = None,
    model: Model = DEFAULT_MODEL,
    weights: t.Weights = None,
    classes: Classes = None,
    spare_classes: SpareClasses = 0,
    data: t.Data = None,
    plan: t.PlanFile = None,
    input_size: Size = "224",
    range_: t.Range = None,
    mean: t.Mean = None,
    std: t.Std = None,
    resize: t.Resize = None,
    filter_: t.Filter = None,
    budget: Budget = "256KB",
    scope: Scope = "training",
    pictures: Pictures = "arena",
    saved_bits: SavedBits = 32,
    activation_bits: ActivationBits = None,
    micro_batch: MicroBatch = 1,
    max_update_ratio: MaxUpdateRatio = 0.02,
    ratio: Ratio = None,
    gradients: Gradients = Settings.gradients,
    epochs: Epochs = None,
    examples: Examples = None,
    lr: t.Rate = None,
    bias_lr: t.BiasRate = None,
    classifier_lr: t.ClassifierRate = None,
    layer_rate: t.LayerRates = None,
    no_normalise: t.NoNormalise = False,
    schedule: Schedule = None,
    warmup: t.Warmup = Settings.warmup,
    batch_size: t.BatchSize = Settings.batch_size,
    sampler: Sampler = "random",
    resample_every: ResampleEvery = Settings.resample_every,
    momentum: t.MomentumOf = Settings.momentum,
    weight_decay: t.WeightDecay = Settings.weight_decay,
    label_smoothing: t.LabelSmoothing = Settings.label_smoothing,
    skip_above: t.SkipAbove = Settings.skip_above,
    balance: Balance = None,
    dropout: t.Dropout = None,
    no_train_bias: t.NoTrainBias = False,
    no_aux: NoAux = False,
    seed: Seed = Settings.seed,
    out_file: PlanFile = None,
    onnx: OnnxFile = None,
    as_json: Json = False,
) -> None:
    """Writes a plan file of a pretrained network or of a run, which trains without torch; or an ONNX file.

    Options are named as those of finetune, and mean the same. What trains the file is sparsebp.runtime.Session or the C
    library. RUN brings its own model, plan, classes, pictures and rates; of these only the rules of learning can be
    chosen anew. With --onnx the file holds the trained network and the scaling of pixels, for other runtimes.
    """
    pixels = {"range_": range_, "mean": mean, "std": std, "resize": resize, "filter_": filter_}
    if onnx is not None:
        stated = given(context)
        check_options(stated)
        file = check_writable(onnx.expanduser(), "onnx")
        said = write_onnx(
            file,
            stated,
            run=run,
            model=model,
            weights=weights,
            classes=classes,
            data=data,
            input_size=input_size,
            pixels=pixels,
            seed=seed,
        )
        print_json(dict(said)) if as_json else print_pairs(said)
        return
    if out_file is None:
        raise typer.BadParameter("--out is missing: what is the plan file to be called?")
    file = check_writable(out_file.expanduser(), "out")
    settings, stated = settings_of(context), given(context)
    settings |= {"epochs": epochs, "examples": examples, "schedule": schedule}
    if run is None or {"epochs", "examples", "schedule", "warmup"} & stated:  # or else the run's own goes on
        check_end(settings, known=data is not None)
    weights = given_weights(weights) if weights is not None else None
    if run is not None:
        with only_writer(file):
            said = _of_run(run, file, {name: settings[name] for name in stated & _OF_RULES}, stated)
    else:
        planned = Plan.load(plan.expanduser()) if plan is not None else None
        if planned is not None:
            settings |= {name: value for name, value in of_plan(planned).items() if name not in stated}
        said = _of_network(
            file,
            settings,
            model=model if "model" in stated else None,
            weights=weights,
            outputs=outputs_of(parse_classes(classes) if classes is not None else None, spare_classes, data, weights),
            planned=planned,
            sized="input_size" in stated or planned is not None,
            pixels=pixels,
        )
    if as_json:
        print_json(facts_of(file))
        return
    print_pairs(said)
    print_pairs(sizes_of(file))


def _of_run(run: Path, file: Path, rules: dict[str, Any], stated: set[str]) -> list[tuple[str, str]]:
    if run.is_file():
        raise typer.BadParameter(f"RUN: expected the folder of a run, {run} is a file; --weights {run} takes it")
    if "spare_classes" in stated:
        raise typer.BadParameter(f"a run has no spare outputs; export its weights, --weights {run / WEIGHTS}")
    foreign = sorted(stated - _OF_RULES - {"run", "out_file", "as_json"})
    if foreign:
        option = option_of(foreign[0].strip("_"))
        raise typer.BadParameter(f"{option}: a run has its own; leave it out")
    position = export_run(run, file, **rules)
    where = "finished" if position.finished else f"epoch {position.epoch + 1}, step {position.step}"
    begun = newest(run.expanduser())
    balance = "none" if begun is None else begun.facts["settings"].get("balance", "none")
    said = [("balance", f"none from here on; the run had {balance}")] if balance != "none" else []
    return [("run", f"{run}: {where} of {position.epochs} epochs"), *said]


def _of_network(
    file: Path,
    settings: dict[str, Any],
    *,
    model: str | None,
    weights: Path | None,
    outputs: Outputs,
    planned: Plan | None,
    sized: bool,
    pixels: Mapping[str, Any],
) -> list[tuple[str, str]]:
    """Builds, converts and writes; what there is to say of it."""
    ends = {name: settings.pop(name) for name in ("epochs", "examples")}
    if ends["epochs"] is not None and ends["examples"] is None:
        ends["examples"] = outputs.pictures
    schedule = settings.pop("schedule")
    read = read_weights(weights) if weights is not None else None
    known = read.metadata if read is not None else {}
    if not sized and "preprocess" in known and not is_zoo_name(weights or ""):
        settings["input_size"] = tuple(known["preprocess"]["size"])
    wanted = Settings(**settings)
    if planned is not None:
        check_agrees(wanted, planned)
    model = model or network_of(known, DEFAULT_MODEL)
    pretrained = load(model, weights, outputs.classes, wanted.seed, read)
    if outputs.spare:
        widen(pretrained.model, outputs.count)
    preprocess = preprocess_for(pretrained.weights, wanted.size, **pixels)
    by_plan = {"plan": planned, "sampler": wanted.sampler}
    with with_dropout(pretrained.model, wanted.dropout):
        sparse = convert(
            pretrained.model,
            **(by_plan if planned is not None else {"budget": wanted.budget, **wanted.conversion()}),
        )
    rules = {f.name: getattr(wanted, f.name) for f in fields(LearningRules)} | {"schedule": schedule, **ends}
    with only_writer(file):
        write(
            sparse,
            file,
            classes=outputs.names,
            spare_classes=outputs.spare,
            preprocess=preprocess,
            origin={"model": model, **({"source": known["source"]} if "source" in known else {})},
            **rules,
        )
    plan = sparse.plan
    span = f"{len(plan.layers)} layers from {plan.layers[0].name}, {plan.update_ratio:.2%} of the convolution weights"
    title = f"{model}, {weights}" if weights is not None else f"{model}, as the function makes it (no --weights)"
    return [("model", title), *pretrained.said, ("input", describe(preprocess)), ("plan", span)]
