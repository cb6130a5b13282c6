"""Writing a converted network as a plan file, which trains without torch and without Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from .. import _C
from ..capture.foreign import listed
from ..data import Preprocess
from ..errors import UnsupportedModel
from ..files import write_atomically
from ..samplers import NAMES
from ..version import __version__
from .protocol import RuleSource
from .sparse_model import SparseModel

_SAMPLINGS = {
    "random": _C.Sampling.uniform,
    "cyclic": _C.Sampling.cyclic,
    "importance": _C.Sampling.weighted,
    "top-k": _C.Sampling.largest,
    "static": _C.Sampling.fixed,
}
#: Of weights whose memory is in the kernels' order.
_LAYOUT = "HWIO"


def export(
    model: SparseModel,
    path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    batch_size: int = 1,
    schedule: str = "constant",
    warmup: float = 0.0,
    steps: int = 0,
    label_smoothing: float = 0.0,
    skip_above: float = 1.0,
) -> None:
    """Writes a plan file: plan, native program, weights, rules and training state in one safetensors file.

    The rules are those of the optimizer that is attached to the model. :class:`sparsebp.runtime.Session` and the C
    library train the file and give the bits that the loop through autograd gives.

    Args:
        model: converted, its whole network native, float32.
        path: of the file; it is replaced whole or not at all.
        classes: names of the outputs.
        preprocess: how a picture becomes input; with it sessions take uint8 pixels.
        batch_size: images of a whole step.
        schedule: ``"constant"``, ``"linear"`` or ``"cosine"``.
        warmup: share of the steps during which the rates rise from zero.
        steps: of the whole schedule.
        label_smoothing: share of the target spread over all classes.
        skip_above: probability of its own class above which an image is learned already and trains nothing.

    Raises:
        UnsupportedModel: something runs in torch in front of the native ops; it is named.
        TypeError, ValueError: an argument is wrong, no optimizer is attached, or the sampler is one of the user's own.
        OSError: the file cannot be written.
    """
    if not isinstance(model, SparseModel):
        raise TypeError(f"model: expected what sparsebp.convert returned, got {type(model).__name__}")
    graph, engine = model._graph, model.engine
    if graph.native_begin:
        kinds = listed(model.plan.reach.foreign) or graph.ops[graph.native_begin - 1].what
        raise UnsupportedModel(f"export: torch runs a part of this network, and a board has no torch: {kinds}")
    if engine.dtype != torch.float32 or engine.device.type != "cpu":
        raise ValueError(f"model: expected float32 on the cpu, got {engine.dtype} on {engine.device}")
    if classes is not None and len(classes) != model.output_shape[0]:
        raise ValueError(f"classes: expected {model.output_shape[0]} names, got {len(classes)}")
    optimizer = engine.optimizer
    if optimizer is None:
        raise ValueError("model: no optimizer is attached, whose rates the file would hold; make a sparsebp.optim.SGD")
    engine.rebind_if_moved()
    recipe = _recipe(model, optimizer)
    recipe.batch, recipe.schedule = batch_size, getattr(_C.Schedule, schedule)
    recipe.warmup, recipe.steps, recipe.label_smoothing, recipe.skip_above = warmup, steps, label_smoothing, skip_above
    spec = engine.spec
    names = [_names(model, layer) for layer in graph.layers_from(0)]
    plan = _C.plan_record(spec, recipe, names, model.plan.budget)
    tensors = _weights(model, {n for layer in names for n in layer if n})
    tensors["sparsebp.plan"] = _bytes(plan)
    tensors["sparsebp.state"] = _bytes(_state(model))
    metadata = {"format": "sparsebp-plan", "version": "1.0", "sparsebp": __version__, "layout": _LAYOUT}
    metadata["plan_digest"] = hashlib.sha256(plan).hexdigest()
    metadata["model"] = type(model.original).__name__
    if classes is not None:
        metadata["classes"] = json.dumps(list(classes))
    if preprocess is not None:
        metadata["preprocess"] = json.dumps(preprocess.to_dict())
        tensors["sparsebp.table"] = _table(preprocess)
    write_atomically(Path(path), safetensors.torch.save(tensors, metadata))


def load_file(path: str | Path) -> dict[str, torch.Tensor]:
    """The weights of a plan file, by their names and with their shapes in the original model.

    ``original.load_state_dict(sparsebp.load_file(path))`` takes them.

    Raises:
        ValueError: the file is no plan file.
    """
    with safetensors.safe_open(str(path), "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if metadata.get("format") != "sparsebp-plan":
        raise ValueError(f"path: {path} is no plan file of sparsebp")
    out = {}
    for name, tensor in tensors.items():
        if name.startswith("sparsebp."):
            continue
        order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(tensor.dim()) if metadata.get("layout") == _LAYOUT else None
        out[name] = tensor.permute(order).contiguous() if order else tensor
    return out


def _recipe(model: SparseModel, optimizer: RuleSource) -> _C.Recipe:
    engine = model.engine
    recipe = _C.Recipe()
    rules = [_C.LayerRule() for _ in engine.specs]
    for (layer, which), group in engine.rules.slots.items():
        numbers, rule = optimizer.param_groups[group], _C.ParameterRule()
        rule.trains, rule.rate, rule.momentum = True, float(numbers["lr"]), float(numbers["momentum"])
        rule.weight_decay, rule.normalise = float(numbers["weight_decay"]), bool(numbers["normalise"])
        setattr(rules[layer], ("weight", "bias", "shift")[which], rule)
    recipe.rules = rules
    sampler = engine.sampler
    kind = next((name for name, cls in NAMES.items() if type(sampler) is cls), None)
    if kind is None:
        raise ValueError(
            f"sampler: {type(sampler).__name__} is Python, which a board may not have; use {', '.join(NAMES)}"
        )
    recipe.sampling, recipe.seed = _SAMPLINGS[kind], sampler.seed or 0
    recipe.dropout_seed = engine.seed
    recipe.resample_every = engine.resample_every
    return recipe


def _names(model: SparseModel, layer: int) -> list[str]:
    item = model._graph.layers[layer]
    module = model.original.get_submodule(item.name)
    norm = model.original.get_submodule(item.norm) if item.norm else None
    wanted: list[tuple[str | None, nn.Module | None, str]] = [
        (item.name, module, "weight"),
        (item.name, module, "bias"),
        *((item.norm, norm, key) for key in ("weight", "bias", "running_mean", "running_var")),
    ]
    return [
        f"{name}.{key}" if owner is not None and getattr(owner, key, None) is not None else ""
        for name, owner, key in wanted
    ]


def _weights(model: SparseModel, native: set[str]) -> dict[str, torch.Tensor]:
    out = {}
    for name, tensor in model.original.state_dict().items():
        data = tensor.detach()
        if name in native and data.dim() in (2, 4):
            data = data.permute((2, 3, 1, 0) if data.dim() == 4 else (1, 0))
        out[name] = data.contiguous()
    return out


def _state(model: SparseModel) -> bytes:
    engine = model.engine
    state = engine.state()
    regions = list(state["regions"].items())
    return _C.state_record(engine.steps, engine.steps, engine.turn, engine.forwards, engine.due, regions)


def _bytes(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _table(preprocess: Preprocess) -> torch.Tensor:
    """What each byte of each channel becomes, [3, 256]."""
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1).expand(1, 1, 256, 3).contiguous()
    return preprocess.normalise(every)[0, :, 0, :].contiguous()
