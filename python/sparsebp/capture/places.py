"""Which number of which activation stands where in a traced tensor.

Views, permutes, slices, chunks and the like compute nothing. They are followed by running them on a tensor of places:
entry i of a node's tensor is number ``index[i]`` of its base, counted in the order [N, C, H, W]. Whatever spelling a
network uses, the result says whether numbers stay where they are, change their channel, or are dealt out anew.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .behaviour import runs_as
from .layer import Value
from .shapes import resolve

_METHODS = {
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "swapdims", "movedim"),
    *("squeeze", "unsqueeze", "contiguous", "clone", "chunk", "split", "narrow", "select", "unbind", "expand"),
    *("expand_as", "view_as", "reshape_as", "t", "tensor_split", "flip"),
}
_FUNCTIONS = {
    operator.getitem,
    *(getattr(torch, name) for name in _METHODS if hasattr(torch, name)),
    *(functional.pixel_shuffle, functional.pixel_unshuffle, functional.channel_shuffle, torch.channel_shuffle),
}
_MODULES = (nn.Flatten, nn.Unflatten, nn.Identity, nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle)


@dataclass(frozen=True)
class Place:
    """Where the numbers of a node's tensor are.

    Attributes:
        base: a node that is an activation, or a parameter.
        index: see above; None if the node is its base.
    """

    base: fx.Node
    index: torch.Tensor | None = None


def value_of(shape: tuple[int, ...]) -> Value | None:
    """The size of an activation [N, C, H, W], [N, C, L] or [N, C]; None if it is none."""
    if len(shape) not in (2, 3, 4) or 0 in shape:
        return None
    channels, *sides = shape[1:]
    height, width = (1, 1, *sides)[-2:]
    return Value(height, width, channels)


class Places:
    """The places of all nodes that were followed so far.

    Args:
        images: of the batch that was traced.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._of: dict[fx.Node, Place | tuple[Place, ...]] = {}
        self._counts: dict[fx.Node, int] = {}  # of bases: numbers of one image; 0: of a parameter

    def __contains__(self, node: fx.Node) -> bool:
        return isinstance(self._of.get(node), Place)

    def __getitem__(self, node: fx.Node) -> Place:
        place = self._of[node]
        assert isinstance(place, Place)
        return place

    def bases(self, node: fx.Node) -> list[fx.Node]:
        """What a node, or each tensor of a tuple, has its numbers from; itself if it is not followed."""
        place = self._of.get(node, Place(node))
        return [place.base] if isinstance(place, Place) else [part.base for part in place[:1]]

    def parts(self, node: fx.Node) -> tuple[Place, ...]:
        """The places of the tensors of a tuple; none if a node is something else."""
        place = self._of.get(node)
        return place if isinstance(place, tuple) else ()

    def begin(self, node: fx.Node, count: int) -> None:
        """Makes a node a base: an activation of ``count`` numbers an image, or a parameter with 0."""
        self._of[node] = Place(node)
        self._counts[node] = count

    def follow(self, node: fx.Node, place: Place) -> None:
        """A node whose numbers are known to lie so."""
        self._of[node] = place

    def is_parameter(self, node: fx.Node) -> bool:
        """Whether a node is a parameter or buffer, or a view of one."""
        return node in self and self._counts[self[node].base] == 0

    def index(self, node: fx.Node) -> torch.Tensor:
        """The places of a node's numbers, in its shape."""
        place = self[node]
        if place.index is not None:
            return place.index
        shape = node.meta["shape"]
        return torch.arange(int(torch.Size(shape).numel())).view(shape)

    def in_order(self, node: fx.Node) -> bool:
        """Whether a node has the numbers of its base, all of them and in their order."""
        place = self[node]
        if place.index is None:
            return True
        return place.index.numel() == self._numel(place.base) and counts_up(place.index.reshape(-1))

    def move(self, node: fx.Node, module: nn.Module | None) -> bool:
        """Follows a node that only moves numbers; False if it is none, or mixes images."""
        run = _mover(node, module)
        source = node.args[0] if node.args else node.kwargs.get("input")
        if run is None or not isinstance(source, fx.Node) or source not in self._of:
            return False
        place = self._of[source]
        if isinstance(place, tuple):
            number = resolve(node.args[1]) if node.target is operator.getitem else None
            if not isinstance(number, (int, slice)):
                return False
            self._of[node] = place[number]
            return True
        try:
            made = run(self.index(source), *map(self._plain, node.args[1:]), **self._keywords(node))
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            return False  # an argument that is no plain value
        parts = made if isinstance(made, (tuple, list)) else (made,)
        if not all(isinstance(part, torch.Tensor) for part in parts):
            return False
        places = tuple(Place(place.base, part) for part in parts)
        self._of[node] = places if isinstance(made, (tuple, list)) else places[0]
        return True

    def _plain(self, argument: Any) -> Any:
        def plain(node: fx.Node) -> Any:
            return self.index(node) if node in self else resolve(node)

        return fx.node.map_arg(argument, plain)

    def _keywords(self, node: fx.Node) -> dict[str, Any]:
        return {key: self._plain(value) for key, value in node.kwargs.items() if key not in ("input", "memory_format")}

    def _numel(self, base: fx.Node) -> int:
        return self._counts[base] * self._images or int(torch.Size(base.meta["shape"]).numel())

    def of_one_image(self, node: fx.Node) -> torch.Tensor | None:
        """The places of one image's numbers, the first dimension left out; None if a node mixes images."""
        index, count = self.index(node), self._counts[self[node].base]
        if index.dim() == 0 or len(index) != self._images or index.numel() == 0:
            return None
        apart = bool((index[0] < count).all()) and bool((index[1:] - index[:-1] == count).all())
        return index[0] if apart else None


def _mover(node: fx.Node, module: nn.Module | None) -> Callable[..., Any] | None:
    if node.op == "call_method" and node.target in _METHODS:
        method = str(node.target)
        return lambda x, *args, **kwargs: getattr(x, method)(*args, **kwargs)
    if node.op == "call_function" and node.target in _FUNCTIONS:
        target: Any = node.target
        return lambda x, *args, **kwargs: target(x, *args, **kwargs)
    if module is not None and any(runs_as(module, kind) for kind in _MODULES):
        return module.forward
    return None


def counts_up(flat: torch.Tensor) -> bool:
    """Whether numbers are 0, 1, 2 and so on."""
    return bool((flat == torch.arange(len(flat))).all())
