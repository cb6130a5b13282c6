"""Which layers can train, and what keeps the others from it: ops behind them without a native counterpart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from .graph import Graph

#: Beginnings of what stands in the way, and what can be done about each besides what always can.
_REMEDIES = {
    ("AlphaDropout", "FeatureAlphaDropout"): "Dropout itself is native.",
    ("no_grad",): "No gradient passes what the model runs under torch.no_grad().",
}
_ALWAYS = "Single convolutions train anywhere: sparsebp.nn.replace(model, PATTERN)."


@dataclass(frozen=True)
class ForeignOps:
    """Ops of one kind that only torch runs.

    Attributes:
        what: a module's class or a function.
        count: how many there are, from the first layer on.
        first: the first of them: the module, or the one in whose ``forward`` it is called.
    """

    what: str
    count: int
    first: str

    def __str__(self) -> str:
        return f"{self.what} ({self.count}, first: {self.first})"


def foreign_ops(graph: Graph) -> tuple[ForeignOps, ...]:
    """What stands behind layers and lets no gradient through, in order of appearance."""
    reached: set[int] = set()  # values that depend on a layer
    found: dict[str, list[str]] = {}
    for op in graph.ops:
        if not (op.layers or op.weighted or reached.intersection(op.inputs)):
            continue
        reached.add(op.output)
        what = op.what if op.kind is None else "no_grad" if op.frozen else ""
        if what:
            found.setdefault(what, []).append(op.where or "the outermost forward")
    return tuple(ForeignOps(what, len(places), places[0]) for what, places in found.items())


@dataclass(frozen=True)
class TrainableLayers:
    """How much of a network can train.

    Attributes:
        layers: convolutions and linear layers of the network.
        trainable: those of them that can train.
        foreign: what stands behind the others.
    """

    layers: int
    trainable: int
    foreign: tuple[ForeignOps, ...]

    def __str__(self) -> str:
        text = f"{self.trainable} of {self.layers} layers"
        if self.trainable == self.layers or not self.foreign:
            return text
        return f"{text}; behind the others is what only torch runs: {listed(self.foreign)}"


def trainable_layers(graph: Graph, model: nn.Module) -> TrainableLayers:
    """How much of ``model`` can train."""
    layers = sum(isinstance(m, (nn.modules.conv._ConvNd, nn.Linear)) for m in model.modules())
    trainable = {i for i in graph.layers_from(graph.trains_from) if graph.layers[i].has_weight}
    return TrainableLayers(max(layers, len(trainable)), len(trainable), foreign_ops(graph))


def listed(found: Iterable[ForeignOps]) -> str:
    """All kinds in one phrase."""
    return ", ".join(map(str, found))


def remedies(found: Sequence[ForeignOps]) -> str:
    """What can be done, in sentences."""
    texts = [text for kinds, text in _REMEDIES.items() if any(f.what.split()[0] in kinds for f in found)]
    if any("hooks" in f.what for f in found):
        texts.append("Remove the hooks.")
    return " ".join([*texts, _ALWAYS])
