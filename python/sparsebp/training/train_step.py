"""One training step with softmax cross-entropy: as a session takes it, so that both give the same bits."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import cross_entropy

from ..errors import UnsupportedModel
from ..optim import SGD
from .fit_step import check_finish, check_step, fit_step, runs_apart
from .sparse_model import SparseModel


def train_step(
    model: SparseModel,
    opt: SGD,
    x: torch.Tensor,
    labels: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    skip_above: float = 1.0,
    class_offsets: torch.Tensor | None = None,
    from_prefix: bool = False,
    finish: bool = True,
    learned: torch.Tensor | None = None,
) -> tuple[float, int]:
    """Forward, loss, backward and update on a batch of any size; the mean loss, and how many images trained something.

    The loss is computed in double precision, natively where the processor runs a float32 program without offsets,
    otherwise by torch.

    Args:
        model, opt, x, from_prefix, finish: as of :func:`sparsebp.fit_step`.
        labels: [N], whole numbers below the number of classes. Of a network that returns images, one for each pixel.
        label_smoothing: share of the target spread over all classes.
        skip_above: probability of its own class above which an image is learned already. A micro-batch of such images
            trains nothing.
        class_offsets: [classes], what is added to the logits in the loss; None for nothing. An image is learned if it
            is with and without them: a frequent class is probable before anything was learned.
        learned: bool [N] on the CPU; takes which images were learned already.

    Raises:
        TypeError, ValueError, RuntimeError, FloatingPointError: as :func:`sparsebp.fit_step`; too few labels;
            ``learned`` is no such tensor.
        UnsupportedModel: the network returns something else than logits or their log_softmax.
    """
    loss = partial(_loss, label_smoothing=label_smoothing, class_offsets=class_offsets)
    check_step(model, opt, x, labels, loss, from_prefix)
    check_logits(model)
    check_finish(model, finish)
    _check_learned(learned, len(x))
    pixels = list(model.output_shape[1:])
    if labels.dim() == 1 and pixels not in ([], [1, 1]):
        raise ValueError(f"labels: this network returns images; expected {[len(x), *pixels]} of them, got {[len(x)]}")
    runner = model._runner
    if runner.computes_loss and class_offsets is None:
        if runs_apart(runner, from_prefix):
            features, first = (x if from_prefix else runner.prefix(x, training=True)), runner.span_begin
        else:
            features, first = runner.enter(x, training=True), 0
        alone = finish and opt.exchange is None
        found = runner.train_batch(features, first, labels, label_smoothing, skip_above, alone, learned)
        if finish and not alone:
            opt.step()
            opt.zero_grad()
        return found
    seen, trained = 0, 0

    def skip(output: torch.Tensor, own: torch.Tensor) -> bool:
        nonlocal seen, trained
        skipped = skip_above < 1 and all(
            bool((_probability(output, own, offsets) > skip_above).all()) for offsets in {None, class_offsets}
        )
        if learned is not None:
            learned[seen : seen + len(own)] = skipped
        seen += len(own)
        trained += 0 if skipped else len(own)
        return skipped

    mean = fit_step(model, opt, x, labels, loss, from_prefix=from_prefix, skip=skip, finish=finish)
    return mean, trained


def check_logits(model: SparseModel) -> None:
    """Raises UnsupportedModel unless cross-entropy is a loss of what a model returns."""
    beyond = model.plan.network.beyond_logits
    if beyond in ("", "log_softmax"):  # of which cross_entropy is the same
        return
    raise UnsupportedModel(
        f"model: the loss is cross-entropy of logits, one number a class, and this network ends in {beyond}. Return "
        "the logits, or write the training loop yourself: loss_fn(model(x), y).backward()"
    )


def _check_learned(learned: torch.Tensor | None, images: int) -> None:
    if learned is None:
        return
    fits = isinstance(learned, torch.Tensor) and learned.dtype == torch.bool and list(learned.shape) == [images]
    if not fits or learned.device.type != "cpu" or not learned.is_contiguous():
        raise ValueError(f"learned: expected a contiguous bool tensor [{images}] on the CPU, got {learned!r}")


def _loss(
    output: torch.Tensor, labels: torch.Tensor, label_smoothing: float, class_offsets: torch.Tensor | None
) -> torch.Tensor:
    return cross_entropy(_logits(output, labels, class_offsets), labels, label_smoothing=label_smoothing)


def _probability(output: torch.Tensor, labels: torch.Tensor, class_offsets: torch.Tensor | None) -> torch.Tensor:
    return _logits(output, labels, class_offsets).softmax(1).gather(1, labels[:, None])


def _logits(output: torch.Tensor, labels: torch.Tensor, class_offsets: torch.Tensor | None) -> torch.Tensor:
    """An image of one pixel is one number a class, if there is one label an image."""
    logits = (output.flatten(1) if labels.dim() == 1 else output).double()
    if class_offsets is None:
        return logits
    return logits + class_offsets.to(logits).view(-1, *[1] * (logits.dim() - 2))
