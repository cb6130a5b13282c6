"""``sparsebp export --onnx``: trained weights as a file that predicts, for runtimes that are not sparsebp's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data.dataset import listed
from ..finetuning.loading import check_named, weights_file
from ..networks.pretrained import read_weights
from ..training.onnx_file import INPUT, OUTPUT, export_onnx
from .option_names import option_of
from .options import OUTPUT as OUTPUT_PANEL
from .options import parse_input_size
from .outputs import outputs_of, parse_classes
from .pretrained import describe, load, preprocess_for

OnnxFile = Annotated[
    Path | None,
    typer.Option(
        "--onnx",
        metavar="FILE",
        help="Write an ONNX file instead of a plan file: pixels in, logits out. It predicts, and trains no more.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]

#: What goes with ``--onnx``; a file that trains no more has no use for the rest.
_OPTIONS = {
    *("run", "model", "weights", "classes", "data", "onnx", "seed", "as_json"),
    *("input_size", "range_", "mean", "std", "resize", "filter_"),
}


def check_options(stated: set[str]) -> None:
    """Raises BadParameter where an option has no meaning for a file that only predicts."""
    foreign = sorted(option_of("out" if name == "out_file" else name) for name in stated - _OPTIONS)
    if foreign:
        raise typer.BadParameter(
            f"{foreign[0]} is for plan files; an ONNX file only predicts, so leave one of the two out",
            param_hint="--onnx",
        )


def write_onnx(
    file: Path,
    stated: set[str],
    *,
    run: Path | None,
    model: str,
    weights: Path | None,
    classes: str | None,
    data: Path | None,
    input_size: str,
    pixels: Mapping[str, Any],
    seed: int,
) -> list[tuple[str, str]]:
    """Writes the file; what there is to say of it.

    Args:
        file: to write.
        stated: the options that stand on the command line; the others are what the weights say.
        run: the folder of a run, or a file of weights; instead of ``weights``.
        model, weights, classes, data, input_size, pixels, seed: as on the command line.
    """
    if run is not None and weights is not None:
        raise typer.BadParameter(f"RUN has weights of its own; leave --weights {weights} out, or {run}")
    given = run if run is not None else weights
    if given is None:
        raise ValueError("--weights is missing: what is to be exported? Give the folder of a run, or --weights FILE")
    place = weights_file(given)
    found = read_weights(place)
    known = found.metadata
    name = model if "model" in stated else str(known.get("model", model))
    if "model" not in stated:
        check_named(name)
    outputs = outputs_of(parse_classes(classes) if classes is not None else None, 0, data, place)
    pretrained = load(name, place, outputs.classes, seed, found)
    if pretrained.fresh is not None:
        raise ValueError(
            f"--weights: {place} tells other classes apart than these {outputs.count}: {pretrained.fresh} would be "
            "untrained; fine-tune first, or leave --classes and --data out"
        )
    size = parse_input_size(input_size)
    if "input_size" not in stated and "preprocess" in known:
        height, width = known["preprocess"]["size"]
        size = (height, width)
    preprocess = replace(preprocess_for(found, size, **pixels), levels=None)  # the file takes pixels from 0 to 255
    origin = {key: known[key] for key in ("source",) if key in known}
    export_onnx(pretrained.model, file, preprocess=preprocess, classes=outputs.names, origin={"model": name, **origin})
    names = f": {listed(outputs.names)}" if outputs.names is not None else ", without names"
    (height, width) = preprocess.size
    return [
        ("model", f"{name}, {place}"),
        *pretrained.said,
        ("inside", describe(preprocess)),
        ("input", f"{INPUT}: float32 [N, 3, {height}, {width}], RGB, pixels from 0 to 255"),
        ("output", f"{OUTPUT}: float32 [N, {outputs.count}]{names}"),
        ("file", f"{file}: {file.stat().st_size:,} bytes"),
    ]
