"""Writing a converted network as a plan file, which trains without torch and without Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from .. import _C
from ..capture.trainable_layers import listed
from ..data import Preprocess
from ..errors import UnsupportedModel
from ..files import as_path, write_atomically
from ..version import __version__
from .class_names import TENSOR, name_rows
from .learning_rules import check_count
from .plan_file import CLASSIFIER, FORMAT, LAYOUT, PREFIX, TRANSPOSED, VERSION, in_order, stored
from .recipe import make_recipe
from .sparse_model import SparseModel

_COLOURS = 3  # of what a Preprocess makes


def export(
    model: SparseModel,
    path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    spare_classes: int = 0,
    preprocess: Preprocess | None = None,
    epochs: int | None = None,
    examples: int | None = None,
    steps: int | None = None,
    done: int | None = None,
    lr: float | None = None,
    bias_lr: float | None = None,
    classifier_lr: float | None = None,
    layer_rates: Mapping[str, float] | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    normalise: bool | None = None,
    batch_size: int | None = None,
    schedule: str | None = None,
    warmup: float | None = None,
    label_smoothing: float | None = None,
    skip_above: float | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Writes a plan file: plan, native program, weights, rules and training state in one safetensors file.

    Its rates are those of the optimizer that is attached to the model or, if there is none, those that are given, by
    the names and with the defaults of :func:`sparsebp.finetune`; given ones must agree with an optimizer.
    :class:`sparsebp.runtime.Session` and the C library train the file and give the bits that the loop through autograd
    gives.

    Args:
        model: converted, its whole network native, float32. A softmax or log_softmax at its very end is left out: the
            loss of a session is cross-entropy, and its predictions are logits.
        path: of the file; it is replaced whole or not at all.
        classes: names of the outputs.
        spare_classes: how many outputs, the last ones, are no classes yet: a session names them one by one, with
            :meth:`.Session.add_class`. :func:`sparsebp.widen` gives a network more outputs.
        preprocess: how a picture becomes input; with it sessions take uint8 pixels.
        epochs: passes over the pictures, of which there are ``examples``; the schedule ends with the last.
        examples: pictures of an epoch.
        steps: of the whole schedule, instead of both.
        done: steps of the schedule that are behind, at most all of them; None takes those of the optimizer.
        lr, bias_lr, classifier_lr, layer_rates: learning rates, as in :class:`.learning_rules.LearningRules`.
        momentum: needs a model converted with ``momentum=True``.
        weight_decay: L2 penalty on the selected weights.
        normalise: whether steps are divided by the size of their layer's gradient; by default if the plan reserves it.
        batch_size: images of a whole step, for which the rates are; a step of another size takes its share
            (normalised: the root), of more images more. By default 1 where an optimizer is attached, otherwise 16.
        schedule: ``"cosine"``, ``"linear"`` or ``"constant"``; by default cosine where its end is known.
        warmup: share of the steps during which the rates rise from zero.
        label_smoothing: share of the target spread over all classes.
        skip_above: probability of its own class above which an image is learned already and trains nothing.
        origin: where model and weights came from, in words; ``sparsebp evaluate`` and :func:`sparsebp.load` build the
            network called ``origin["model"]``.

    Raises:
        UnsupportedModel: something runs in torch before the native ops or after them, which is named, or the network
            returns images.
        BudgetExceeded: the gradient of the loss, which lies in the arena too, does not fit the plan's budget.
        TypeError, ValueError: an argument is wrong or contradicts the attached optimizer, there are no rates, or the
            sampler is one of the user's own.
        OSError: the file cannot be written.
    """
    place = as_path(path, "path")
    _check_model(model)
    _check_described(model, classes, spare_classes, preprocess)
    rules = {
        "lr": lr,
        "bias_lr": bias_lr,
        "classifier_lr": classifier_lr,
        "layer_rates": layer_rates,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "normalise": normalise,
        "batch_size": batch_size,
        "schedule": schedule,
        "warmup": warmup,
        "label_smoothing": label_smoothing,
        "skip_above": skip_above,
    }
    given = {name: value for name, value in rules.items() if value is not None}
    if done is not None and done != 0:
        check_count("done", done)
    model.engine.rebind_if_moved()
    recipe = make_recipe(model, given, epochs, examples, steps)
    behind = model.engine.steps if done is None else done
    if recipe.steps and behind > recipe.steps:
        whose = f"the model's optimizer took {behind}; give done, or steps" if done is None else f"got {done}"
        raise ValueError(f"done: expected at most the {recipe.steps} steps of the whole schedule, {whose}")
    names = [_names(model, layer) for layer in model._graph.layers_from(0)]
    named = None if classes is None else len(classes)
    plan = _C.plan_record(model.engine.spec, recipe, names, model.plan.budget, named)
    tensors = _weights(model)
    tensors[f"{PREFIX}plan"] = _bytes(plan)
    tensors[f"{PREFIX}state"] = _bytes(_state(model, behind))
    header = {"format": FORMAT, "version": VERSION, "sparsebp": __version__, "layout": LAYOUT}
    if transposed_weights(model):
        header[TRANSPOSED] = json.dumps(sorted(transposed_weights(model)))
    header["plan_digest"] = hashlib.sha256(plan).hexdigest()
    header["network_digest"] = model.plan.network.digest
    if origin is not None:
        header["origin"] = _origin_text(origin)
    if classes is not None and spare_classes:
        tensors[TENSOR] = name_rows(classes, len(classes) + spare_classes)
        header[CLASSIFIER] = model.engine.specs[_C.classifier(model.engine.spec)].name
    elif classes is not None:
        header["classes"] = json.dumps(list(classes))
    if preprocess is not None:
        header["preprocess"] = json.dumps(preprocess.to_dict())
        tensors[f"{PREFIX}table"] = _table(preprocess)
    write_atomically(place, in_order(safetensors.torch.save(tensors, header)))


def _origin_text(origin: Mapping[str, Any]) -> str:
    try:
        if isinstance(origin, Mapping):
            return json.dumps(dict(origin))
    except (TypeError, ValueError) as error:
        raise TypeError(f"origin: expected what JSON can hold, {error}") from error
    raise TypeError(f'origin: expected a mapping such as {{"model": "mobilenet_v2"}}, got {type(origin).__name__}')


def _check_model(model: SparseModel) -> None:
    if not isinstance(model, SparseModel):
        raise TypeError(f"model: expected what sparsebp.convert returned, got {type(model).__name__}")
    graph, engine = model._graph, model.engine
    if graph.native_begin:
        kinds = listed(model.plan.reach.foreign) or graph.ops[graph.native_begin - 1].what
        raise UnsupportedModel(f"export: torch runs a part of this network, and a board has no torch: {kinds}")
    beyond = model.plan.network.beyond_logits
    if beyond and (graph.tail is None or graph.tail.over_classes is None):
        raise UnsupportedModel(
            "export: the loss of a session is cross-entropy of logits, one number a class, at whose end softmax or "
            f"log_softmax is left out; this network ends in {beyond}"
        )
    shape_made = model._runner.native_shape
    if shape_made[1:] not in ((), (1, 1)):
        shape = ", ".join(map(str, shape_made))
        raise UnsupportedModel(
            f"export: expected a network that returns one number a class, [N, C] or [N, C, 1, 1]; this one returns "
            f"images, [N, {shape}]"
        )
    if engine.dtype != torch.float32 or engine.device.type != "cpu":
        raise ValueError(f"model: expected float32 on the cpu, got {engine.dtype} on {engine.device}")


def _check_described(
    model: SparseModel, classes: Sequence[str] | None, spare: int, preprocess: Preprocess | None
) -> None:
    if spare != 0:
        check_count("spare_classes", spare)
        if classes is None:
            raise ValueError("classes: expected the names of those that are not spare; spare_classes needs them")
    if classes is not None:
        if (
            isinstance(classes, str)
            or not hasattr(classes, "__len__")
            or not all(isinstance(name, str) for name in classes)
        ):
            raise TypeError("classes: expected the names of the outputs, a sequence of str")
        outputs = model.output_shape[0]
        if len(classes) + spare != outputs:
            beside = f" beside {spare} spare outputs" if spare else ""
            raise ValueError(
                f"classes: expected {max(0, outputs - spare)} names{beside}, got {len(classes)}; the network has "
                f"{outputs} outputs, sparsebp.widen gives it more"
            )
        twice = next((name for i, name in enumerate(classes) if name in classes[:i]), None)
        if twice is not None:
            raise ValueError(f"classes: expected different names, got {twice!r} twice; give one of them another name")
    if preprocess is not None:
        if not isinstance(preprocess, Preprocess):
            raise TypeError(f"preprocess: expected a sparsebp.data.Preprocess, got {type(preprocess).__name__}")
        if model.plan.input_size[0] != _COLOURS:
            raise ValueError(
                f"preprocess: it makes images of {_COLOURS} channels, this network takes {model.plan.input_size[0]}; "
                "leave it out, and give sessions float32"
            )
        if tuple(preprocess.size) != model.plan.input_size[1:]:
            raise ValueError(f"preprocess: expected size {model.plan.input_size[1:]} as planned, got {preprocess.size}")


def _names(model: SparseModel, layer: int) -> list[str]:
    return [name or "" for name in model._graph.layers[layer].tensors.names]


def transposed_weights(model: SparseModel) -> set[str]:
    """The names of the weights of transposed convolutions, [in, out, ...]."""
    return {str(layer.tensors.weight) for layer in model._graph.layers if layer.kind == "transposed"}


def _weights(model: SparseModel) -> dict[str, torch.Tensor]:
    weights = {name: tensor.detach() for name, tensor in model.original.state_dict().items()}
    out, seen, transposed = {}, set(), transposed_weights(model)
    for name, tensor in weights.items():
        own = stored(tensor, name in transposed)
        memory = own.untyped_storage().data_ptr()
        out[name] = own.clone() if memory in seen else own  # safetensors takes no memory twice
        seen.add(memory)
    return out


def _state(model: SparseModel, batches: int) -> bytes:
    engine = model.engine
    regions = list(engine.state()["regions"].items())
    return _C.state_record(batches, engine.steps, engine.turn, engine.forwards, engine.due, regions)


def _bytes(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _table(preprocess: Preprocess) -> torch.Tensor:
    """What each byte of each channel becomes, [3, 256]."""
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1).expand(1, 1, 256, _COLOURS).contiguous()
    return preprocess.normalise(every)[0, :, 0, :].contiguous()
