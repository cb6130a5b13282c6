"""Cutting channels away before training: the offline stage of the method (Li & Chang, ISCAS 2024).

Which channels hang together, what each is worth, and how a layer gets narrower is the library torch-pruning's (an
extra: ``pip install 'sparsebp[prune]'``); how many go from which layer is decided here, over the whole network: the
same share of every layer would cost MobileNetV2 most of what it knows (RESULTS.md).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.conv import _ConvNd

from ..training.sparse_model import SparseModel

ROUND_TO = 8
"""Numbers of channels that are left are multiples of it, one vector of float32 in most instruction sets."""


def prune(
    model: nn.Module,
    example: Tensor,
    ratio: float,
    data: Iterable[Tensor | tuple[Tensor, Tensor]] | None = None,
) -> nn.Module:
    """A smaller copy of a pretrained network, without the channels that matter least in all of it.

    What a channel matters is, over ``data``, its first-order effect on the loss (Molchanov et al., CVPR 2019), and
    without data the size of its weights beside those of its layer that are no smaller (LAMP, Lee et al., ICLR 2021).
    The outputs stay. What was cut is missed until the network is trained on; the fine-tuning makes up for part of it.

    Args:
        model: float32 CPU module, [N, C, H, W] to [N, classes]; it stays as it is.
        example: an input, [N, C, H, W], to trace the network with.
        ratio: share of the network's channels to cut, at least 0 and below 1. Each layer is left with a multiple of 8,
            at least with 8, or with all it has if that is fewer; so a large ratio may be out of reach.
        data: batches (images [N, C, H, W], labels [N] of the classes that ``model`` knows), best of its pretraining; a
            few are enough. Images without labels count as what ``model`` takes them for.

    Raises:
        ImportError: torch-pruning is not installed; the message says how to install it.
        TypeError, ValueError: an argument or the network cannot be used, or ``data`` holds no batch.
    """
    _check(model, example, ratio)
    library = _library()
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with torch.inference_mode(False), torch.enable_grad():
        pruned = copy.deepcopy(model)
        modes = [(module, module.training) for module in pruned.modules()]
        pruned.eval().requires_grad_(True)
        example = example.clone()  # a tensor made in inference mode cannot be differentiated through
        before = _shapes(pruned, example)
        graph = library.DependencyGraph().build_dependency(pruned, example_inputs=example)
        if data is not None:
            _accumulate(pruned, example, data)
        for group, cut in _chosen(_groups(library, graph, data is not None), ratio):
            graph.get_pruning_group(group.layer, group.cut, group.channels(cut)).prune()
        if _shapes(pruned, example) != before:
            raise ValueError("model: its outputs or inputs hang together with channels that would be cut; cannot prune")
    pruned.zero_grad(set_to_none=True)
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad_(wanted[name])
    for module, training in modes:
        module.training = training
    return pruned


@dataclass(frozen=True)
class _Group:
    """Channels that go together from every layer that makes or takes them.

    Attributes:
        layer: the first that makes them.
        cut: the library's function for its outputs.
        scores: what each is worth; where layers have several groups, what those at the same place in each are.
        times: how many each of these is: the number of groups, of which those of every layer are divisors.
    """

    layer: nn.Module
    cut: Any
    scores: Tensor
    times: int

    @property
    def order(self) -> list[int]:
        """The least important first."""
        return torch.argsort(self.scores, stable=True).tolist()

    def pieces(self) -> Iterator[tuple[float, int]]:
        """What may be cut one after the other: the mean score of each piece, and its number of scores."""
        step = ROUND_TO // math.gcd(ROUND_TO, self.times)
        ranked, at, worth = self.scores[self.order], 0, 0.0
        while len(ranked) - at > step:
            size = (len(ranked) - at) % step or step
            worth = max(worth, float(ranked[at : at + size].mean()))  # rounding must not change their order
            yield worth, size
            at += size

    def channels(self, count: int) -> list[int]:
        """Those with the lowest scores."""
        width = len(self.scores)
        return [place + width * k for k in range(self.times) for place in self.order[:count]]


def _chosen(groups: list[_Group], ratio: float) -> list[tuple[_Group, int]]:
    """How many scores each group loses: the cheapest pieces of all, until as near to the share as pieces allow."""
    pieces = [(score, i, size) for i, group in enumerate(groups) for score, size in group.pieces()]
    left = ratio * sum(len(group.scores) * group.times for group in groups)
    counts = [0] * len(groups)
    for _, i, size in sorted(pieces, key=lambda piece: piece[0]):  # stable: a group's pieces stay in their order
        gone = size * groups[i].times
        if gone > 2 * left:
            break
        counts[i] += size
        left -= gone
    return [(group, count) for group, count in zip(groups, counts, strict=True) if count]


def _groups(library: Any, graph: Any, gradients: bool) -> list[_Group]:
    """Everything that can be cut, with scores that compare between layers."""
    kinds = library.importance
    score = kinds.GroupTaylorImportance(group_reduction="sum", normalizer=None) if gradients else kinds.LAMPImportance()
    found = []
    for group in graph.get_all_groups(ignored_layers=_outputs(graph), root_module_types=[nn.Conv2d, nn.Linear]):
        scores = score(group)
        times = math.lcm(*(_groups_of(dependency.target.module) for dependency, _ in group))
        scores = scores.detach().cpu().view(times, -1).mean(dim=0)
        if not bool(torch.isfinite(scores).all()):
            raise ValueError(
                "data: its gradients are not finite" if gradients else "model: some of its weights are not finite"
            )
        found.append(_Group(group[0].dep.target.module, group[0].dep.handler, scores, times))
    return found


def _groups_of(module: nn.Module) -> int:
    """Of a convolution that is not depthwise, or a group norm; 1 of anything else."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    return module.groups if isinstance(module, _ConvNd) and module.groups < module.out_channels else 1


def _outputs(graph: Any) -> list[nn.Module]:
    """Layers that make the network's outputs: no other that mixes channels comes behind them."""

    def mixes(module: nn.Module) -> bool:
        depthwise = isinstance(module, _ConvNd) and module.groups == module.out_channels > 1
        return isinstance(module, (_ConvNd, nn.Linear)) and not depthwise

    def ends(node: Any) -> bool:
        waiting, seen = [node], set()
        while waiting:
            here = waiting.pop()
            if not here.outputs:
                return True
            for then in here.outputs:
                if id(then) not in seen and not mixes(then.module):
                    seen.add(id(then))
                    waiting.append(then)
        return False

    return [module for module, node in graph.module2node.items() if mixes(module) and ends(node)]


def _accumulate(model: nn.Module, example: Tensor, data: Iterable[Tensor | tuple[Tensor, Tensor]]) -> None:
    """Gradients of the loss over all of ``data``."""
    batches = 0
    for batch in data:
        images, labels = batch if isinstance(batch, (tuple, list)) and len(batch) == 2 else (batch, None)
        like = isinstance(images, Tensor) and images.dim() == 4 and images.dtype == example.dtype
        if not like or images.shape[1] != example.shape[1]:
            raise TypeError(
                f"data: expected batches of images, {example.dtype} [N, {example.shape[1]}, H, W] as example is, or "
                f"pairs (images, labels), got {_described(images)}"
            )
        scores = model(images.clone())
        if labels is None:
            labels = scores.detach().argmax(dim=1)
        if not isinstance(labels, Tensor) or labels.shape != images.shape[:1] or labels.is_floating_point():
            raise TypeError(f"data: expected whole-number labels [{len(images)}], got {_described(labels)}")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < scores.shape[1]:
            raise ValueError(
                f"data: expected labels of 0 to {scores.shape[1] - 1}, the classes that the model knows, got "
                f"{int(labels.min())} to {int(labels.max())}"
            )
        if len(labels):
            cross_entropy(scores, labels.clone().long()).backward()
            batches += 1
    if batches == 0:
        raise ValueError("data: expected at least one batch of images or of (images, labels)")


def _described(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _shapes(model: nn.Module, example: Tensor) -> list[object]:
    with torch.no_grad():
        found = model(example)
    values = found.values() if isinstance(found, dict) else found if isinstance(found, (list, tuple)) else [found]
    return [getattr(value, "shape", None) for value in values]


def _check(model: nn.Module, example: Tensor, ratio: float) -> None:
    if not isinstance(model, nn.Module) or isinstance(model, SparseModel):
        raise TypeError(
            f"model: expected a torch.nn.Module that is not converted yet, got {type(model).__name__}; prune first, "
            "then convert"
        )
    if not isinstance(example, Tensor) or example.dim() != 4 or example.shape[0] == 0:
        raise TypeError(f"example: expected a tensor [N, C, H, W], got {_described(example)}")
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio < 1:
        raise ValueError(f"ratio: expected a share of the channels, at least 0 and below 1, got {ratio!r}")
    if len(list(model.named_parameters(remove_duplicate=False))) != len(list(model.parameters())):
        raise ValueError("model: two of its layers share a weight; such a network cannot be pruned")
    for name, module in model.named_modules():
        if isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels < module.out_channels:
            raise ValueError(
                f"model: {name} has {module.out_channels // module.groups} filters a channel; "
                "depthwise convolutions can be pruned with one only"
            )


def _library() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise ImportError("prune needs torch-pruning: pip install 'sparsebp[prune]'") from error
    return torch_pruning
