"""Who takes part in bench/rivals.py, and the files that each of them starts from."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sparsebp
import torch
from rival_ways import RATE
from rival_workers import Rival, environment
from sparsebp.benchmark.candidates import StepRequest, prepare_candidates
from torch import nn

CLASSES = 10
FEWEST_PICTURES = 8
"""Behind the statistics of batch norms, which need more than one where a picture has become a single pixel."""
SESSION = "sparsebp Session"
EVERYTHING = "everything"


def line_up(begin: int, request: StepRequest, python: str, mnn: str, ort: str) -> list[Rival]:
    """All contenders, sparsebp's session first.

    Args:
        begin: block of MobileNetV2 from which partial ones train.
        request: budget and ratio.
        python: interpreter that has sparsebp and torch.
        mnn: one that has MNN.
        ort: one that has ONNX Runtime's training.
    """
    some = f"{request.max_update_ratio:.1%} of the convolutions"
    rest = f"from features.{begin} on"
    sparse = {"budget": request.budget, "ratio": request.max_update_ratio}
    saving = ["memsave_torch.nn"], "pip install git+https://github.com/plutonium-239/memsave_torch"
    phones = ["footprint_mnn"], "pip install mnn==3.6.1 numpy"
    graphs = (
        ["footprint_ort", "onnxruntime.training.api", "onnxruntime.training.artifacts", "onnx"],
        "pip install onnxruntime-training==1.19.2 'onnx<1.17' 'numpy<2'",
    )
    ways = "rival_ways:"
    return [
        Rival(SESSION, some, f"{ways}Session", {}, python),
        Rival("sparsebp autograd", some, f"{ways}Autograd", sparse, python),
        Rival("torch", EVERYTHING, f"{ways}Torch", {"network": "dense"}, python),
        Rival("torch", rest, f"{ways}Torch", {"network": "partial"}, python),
        Rival("memsave_torch", EVERYTHING, f"{ways}Torch", {"network": "dense", "saving": True}, python, *saving),
        Rival("memsave_torch", rest, f"{ways}Torch", {"network": "partial", "saving": True}, python, *saving),
        Rival("ONNX Runtime", EVERYTHING, f"{ways}onnx_runtime", {"graphs": "dense"}, ort, *graphs),
        Rival("ONNX Runtime", rest, f"{ways}onnx_runtime", {"graphs": "partial"}, ort, *graphs),
        Rival("MNN", EVERYTHING, f"{ways}mnn", {"begin": 0}, mnn, *phones),
        Rival("MNN", rest, f"{ways}mnn", {"begin": begin}, mnn, *phones),
    ]


def prepare(request: StepRequest, rivals: Sequence[Rival], folder: Path) -> dict[str, str]:
    """Writes what the contenders start from: one batch, and one network that sparsebp and torch compute alike.

    Args:
        request: with one cut, where partial ones begin.
        rivals: those that will run.
        folder: empty.

    Returns:
        For whom that failed, by their titles, and why.

    Raises:
        BudgetExceeded: nothing fits at this size.
    """
    (cut,) = request.cuts
    found = prepare_candidates(_network(request), request)
    np.save(folder / "x.npy", found.x.contiguous().numpy())
    np.save(folder / "y.npy", found.y.numpy())
    sparsebp.export(found.sparse.train(), folder / "plan.safetensors", lr=RATE, batch_size=request.batch)
    models = {trainer.name: trainer.model.train() for trainer in found.trainers}
    torch.save(models["dense"].model, folder / "dense.pt")
    torch.save(models[f"partial {cut}"].model, folder / "partial.pt")
    graphs = [rival for rival in rivals if "graphs" in rival.given]
    if graphs:
        _export(models["dense"].model, found.x, folder / "network.onnx")
    begins = {"dense": "", "partial": cut}
    failures = {rival.title: _graphs(rival, begins[rival.given["graphs"]], folder) for rival in graphs}
    return {title: failure for title, failure in failures.items() if failure}


def _network(request: StepRequest) -> nn.Module:
    """MobileNetV2 with random weights, and the statistics that batch norms find in noise.

    With those that they begin with, gradients are lost on the way, and exporters merge shifts that are all the same.
    """
    torch.manual_seed(0)
    model = sparsebp.models.mobilenet_v2(CLASSES).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(FEWEST_PICTURES, *request.input_size))
    return model


def _export(model: Any, x: torch.Tensor, file: Path) -> None:
    """The network as ONNX, by torch's exporter that needs no further package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (x,), file, dynamo=False, opset_version=15)


def _graphs(rival: Rival, begin: str, folder: Path) -> str:
    """Writes ONNX Runtime's graphs of a step, by its own interpreter; what went wrong, empty if nothing did."""
    arguments = [folder / "network.onnx", folder / rival.given["graphs"], begin]
    script = "import sys, footprint_ort; footprint_ort.prepare(*sys.argv[1:])"
    done = subprocess.run(
        [rival.python, "-c", script, *map(str, arguments)], capture_output=True, text=True, env=environment(1)
    )
    return (done.stderr.strip().splitlines() or ["no graphs"])[-1] if done.returncode else ""
