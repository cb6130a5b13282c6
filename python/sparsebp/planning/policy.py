"""What a plan is for: which layers train, and how the channels of a step are divided among them.

What was measured (RESULTS.md): weights that *widen* a tensor, such as the expansions of an inverted residual, learn
most per weight and per saved byte. Their inputs are narrow, and every output channel they feed has a mask of its own,
so that the gradients of their weights differ; those of a projection all mix the same few output gradients. And the same
number of weights in every layer beats the same share of every layer: early layers are small, so that a small update
trains much of them, while a share of a late layer is many weights.

Between a longer span and more weights a step, :func:`worth` decides.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from ..capture.graph import Graph

#: What a longer span is worth in weights of a step: those may fall by the fifth power of what its layers gain. From
#: the losses of plans that fill equal budgets in different ways (RESULTS.md, "How long a span").
LAYERS_OVER_WEIGHTS = 5
#: How much more a plan must be worth to pay for the smallest channel blocks: steps take a tenth longer, and a tenth
#: more steps would lower the loss as much as one and a half times the weights.
NARROW_PAYS = 1.5


#: Of a layer: the weights of one input channel, and its input channels.
Weights = tuple[int, int]


def worth(weights: int, layers: int) -> float:
    """By which spans that fit a budget compare.

    Args:
        weights: of convolutions, that a step trains.
        layers: of the span, whatever trains in them; in most only the shifts.
    """
    return float(weights * layers**LAYERS_OVER_WEIGHTS)


def widening(graph: Graph, explicit: Container[int] = ()) -> frozenset[int]:
    """The native convolutions that train first: those with more outputs than inputs. Where none has, all of them.

    Layers in ``explicit`` have a ratio of their own and take no part.
    """
    layers = [i for i in graph.layers_from(graph.trains_from) if i not in explicit]
    native = {i for i in layers if graph.layers[i].is_convolution}
    wide = {i for i in native if graph.layers[i].output.channels > graph.layers[i].input.channels}
    return frozenset(wide or native)


def divide(amount: float, first: Mapping[int, Weights], others: Mapping[int, Weights]) -> dict[int, int]:
    """Channels of each layer that a step trains.

    Args:
        amount: 0 to 1 fills the layers of ``first``, each with the same number of weights, from one channel to all;
            1 to 2 then fills the others likewise, which train none before.
        first: layers that train first.
        others: the rest.
    """
    more = _fill(amount - 1, others) if amount > 1 else dict.fromkeys(others, 0)
    return _fill(min(amount, 1.0), first) | more


def _fill(share: float, weights: Mapping[int, Weights]) -> dict[int, int]:
    """Layers get ``share`` of the largest one's weights each, in whole channels."""
    most = max((per_channel * channels for per_channel, channels in weights.values()), default=0)
    return {i: max(1, min(channels, round(share * most / each))) for i, (each, channels) in weights.items()}
