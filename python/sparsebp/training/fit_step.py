"""One training step for batches larger than the plan's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from ..optim import SGD
from .network_runner import NetworkRunner
from .sparse_model import SparseModel


def fit_step(
    model: SparseModel,
    opt: SGD,
    x: torch.Tensor,
    y: Any,
    loss_fn: Callable[[Any, Any], torch.Tensor],
    *,
    from_prefix: bool = False,
    skip: Callable[[Any, Any], bool] | None = None,
    finish: bool = True,
) -> float:
    """Forward, backward and update on a batch of any size; returns the mean loss.

    The frozen prefix runs on the whole batch first, the span in micro-batches of ``plan.batch_size``. Both run in
    micro-batches where the budget covers the whole step, so that no features lie elsewhere, and with dropout in the
    prefix, so that one pass drops by one key as in a loop over ``model(x)``. With
    ``gradients="sum"`` these are summed and applied once; in place every micro-batch is applied at once with its
    share of the learning rate, or the root of it where steps are normalised, and momentum decays with each. The
    update set stays the same until the batch ends.

    Args:
        model: converted, in training mode.
        opt: the optimizer attached to it.
        x: [N, C, H, W].
        y: targets, sliceable along the batch.
        loss_fn: maps (output, targets) to the mean loss of a batch.
        from_prefix: ``x`` is what :meth:`SparseModel.run_prefix` made of the images, kept from an earlier pass.
        skip: tells from output and targets of a micro-batch whether it needs no backward pass. Its loss counts, it
            trains nothing; a batch of which nothing trains is no step, and the update set stays.
        finish: False leaves ``opt.step()`` and ``opt.zero_grad()`` to the caller; with gradient sums only.

    Raises:
        TypeError: an argument is of the wrong kind, or ``loss_fn`` returns other than a tensor of one element.
        ValueError: empty batch, ``x`` and ``y`` differ in length, or ``opt`` is another model's.
        RuntimeError: the model is in evaluation mode, or was restored.
        FloatingPointError: a gradient is not finite; micro-batches before it are applied already
            unless the plan holds gradient sums.
    """
    check_step(model, opt, x, y, loss_fn, from_prefix)
    if skip is not None and not callable(skip):
        raise TypeError(f"skip: expected a function of (output, targets) or None, got {type(skip).__name__}")
    check_finish(model, finish)
    images = x.shape[0]
    engine, runner, step = model.engine, model._runner, model.plan.batch_size
    apart = runs_apart(runner, from_prefix)
    engine.rebind_if_moved()
    features = runner.prefix(x, training=True) if apart and not from_prefix else x
    total, trains, earlier = 0.0, False, engine.last_forward
    try:
        for i in range(0, images, step):
            part, targets = features[i : i + step], y[i : i + step]
            share = part.shape[0] / images
            engine.rate_scale = 1.0 if engine.sums else share
            with torch.enable_grad():
                if apart:
                    output = model.train_span(part, runner.span_begin)
                else:
                    output = model(part)
                loss = loss_fn(output, targets)
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
                got = f"shape {list(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
                raise TypeError(f"loss_fn: expected it to return a tensor of one element, got {got}")
            total += loss.item() * share
            if skip is not None and skip(tree_map_only(torch.Tensor, torch.Tensor.detach, output), targets):
                engine.abandon()
                engine.images += len(part)
                continue
            trains = True
            (loss * share if engine.sums else loss).backward()
    except BaseException:
        if engine.last_forward is not earlier:
            engine.abandon()
        opt.zero_grad()
        raise
    finally:
        engine.rate_scale = 1.0
    if finish and (trains or opt.exchange is not None):  # others may have trained
        opt.step()
        opt.zero_grad()
    return total


def runs_apart(runner: NetworkRunner, from_prefix: bool) -> bool:
    """Whether a step runs the frozen prefix by itself, before the span."""
    return from_prefix or (runner.prefix_shape is not None and not runner.prefix_is_random and not runner.whole_step)


def check_finish(model: SparseModel, finish: bool) -> None:
    """Raises ValueError if a step is to be left open whose gradients are used up as they arise."""
    if not finish and not model.engine.sums:
        raise ValueError('finish: expected True, or a model that was converted with gradients="sum"')


def check_step(
    model: SparseModel,
    opt: SGD,
    x: torch.Tensor,
    y: Any,
    loss_fn: Callable[..., torch.Tensor],
    from_prefix: bool = False,
) -> None:
    """Raises TypeError, ValueError or RuntimeError unless a step can be taken with these arguments."""
    if not isinstance(model, SparseModel):
        raise TypeError(f"model: expected what sparsebp.convert returned, got {type(model).__name__}")
    if not isinstance(opt, SGD) or model.engine.optimizer is not opt:
        raise ValueError("opt: expected the sparsebp.optim.SGD that was made for this model last")
    runner = model._runner
    if from_prefix:
        runner.check_features(x)
    else:
        runner.check_input(x)
    if x.shape[0] == 0:
        raise ValueError("x: expected at least one image")
    if not hasattr(y, "__len__") or not hasattr(y, "__getitem__"):
        raise TypeError(f"y: expected targets that can be sliced along the batch, got {type(y).__name__}")
    if not callable(loss_fn):
        raise TypeError(f"loss_fn: expected a function of (output, targets), got {type(loss_fn).__name__}")
    if len(y) != x.shape[0]:
        raise ValueError(f"y: expected one target per image, {x.shape[0]}, got {len(y)}")
    if not model.training:
        raise RuntimeError("model: it is in evaluation mode; call model.train() first")
