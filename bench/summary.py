"""What many layers say together: geometric means, and where sparsebp is slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from layers import LayerResult
from sparsebp.benchmark.timing import geometric_mean
from ways import BOTH, INPUT, TORCH_WAYS, WEIGHT

ALL = "all"
FASTEST = "fastest"
"""The fastest of torch's ways in each layer, whichever it is."""
GRADIENTS = (WEIGHT, INPUT, BOTH)
OPPONENTS = (*TORCH_WAYS, FASTEST)


@dataclass(frozen=True)
class Comparison:
    """sparsebp against one of torch's ways over several layers; ratios are torch's time over sparsebp's.

    Attributes:
        layers: how many there are.
        mean: geometric mean of the ratios.
        slower: layers in which sparsebp is slower.
        worst: the smallest ratio.
        worst_layer: where that is.
    """

    layers: int
    mean: float
    slower: int
    worst: float
    worst_layer: str


Summary = dict[str, dict[str, dict[str, Comparison]]]
"""By gradient, kind of layer (``all`` is one) and opponent."""


def summarize(results: Sequence[LayerResult]) -> Summary:
    """Compares whatever was measured."""
    kinds = (ALL, *dict.fromkeys(r.shape.kind for r in results))
    return {
        gradient: {
            kind: compared
            for kind in kinds
            if (compared := _compare([r for r in results if kind in (ALL, r.shape.kind)], gradient))
        }
        for gradient in GRADIENTS
    }


def _compare(results: Sequence[LayerResult], gradient: str) -> dict[str, Comparison]:
    ratios: dict[str, dict[str, float]] = {}
    for r in results:
        found = r.ratios(gradient)
        if found:
            found[FASTEST] = min(found.values())
        for name, ratio in found.items():
            ratios.setdefault(name, {})[r.shape.name] = ratio
    return {name: _comparison(ratios[name]) for name in OPPONENTS if name in ratios}


def _comparison(ratios: dict[str, float]) -> Comparison:
    """Of ratios by layer."""
    worst = min(ratios, key=lambda name: ratios[name])
    slower = sum(ratio < 1 for ratio in ratios.values())
    return Comparison(len(ratios), geometric_mean(ratios.values()), slower, ratios[worst], worst)


def plain(summary: Summary) -> dict[str, Any]:
    """For JSON."""
    return {
        gradient: {
            kind: {name: asdict(comparison) for name, comparison in compared.items()}
            for kind, compared in kinds.items()
        }
        for gradient, kinds in summary.items()
    }
