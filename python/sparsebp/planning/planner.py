"""From a budget to a plan: where the span begins, how many channels each layer trains, which blocks.

The policy: every span gets as many channels as fit (:mod:`.policy` says how they are divided), and the span is chosen
whose weights are worth most (:func:`.policy.worth`), with the smallest channel blocks only where these pay. What is
left buys wider blocks, which are faster. Every candidate is laid out for real (:mod:`.layouts`), so that what is
promised fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property, partial
from typing import NamedTuple

from torch import nn

from ..capture.graph import Graph
from ..capture.trainable_layers import listed, remedies
from ..errors import BudgetExceeded, UnsupportedModel
from ..units import format_bytes
from .channel_blocks import SMALLEST_BLOCK, USUAL_BLOCK, blocks_of, widened, widest
from .choice import Choice
from .keeping import Keeping
from .layouts import Layouts
from .pieces import Pieces
from .policy import NARROW_PAYS, Weights, divide, widening, worth
from .request import Request
from .whole_step import WholeStep, check_native

#: How finely amounts are told apart; the next channel is mostly further away.
RESOLUTION = 1e-6

Fits = Callable[[int, int, float], bool]  # of the op a span begins with, a channel block, an amount


class _Span(NamedTuple):
    channels: dict[int, int]  # of each layer, in network order; final for those that nothing is divided among
    first: dict[int, Weights]  # layers that train first
    others: dict[int, Weights]


class Planner(Layouts):
    """Answers for one model and one request."""

    def __init__(self, graph: Graph, model: nn.Module, request: Request) -> None:
        super().__init__(graph, model, request)
        self.explicit = self._match_ratios(request.ratios)
        self.first = widening(graph, self.explicit)
        self._spans: dict[int, _Span] = {}
        if request.whole_step:
            check_native(graph)
        self.begins, self.late_begins = self._begins()

    @cached_property
    def _whole_step(self) -> WholeStep:
        return WholeStep(self.graph, self.factory, self.request.batch_size, self.request.holds_pictures)

    @cached_property
    def _keeping(self) -> Keeping:
        return Keeping(self.graph, self.factory, self.request)

    # -- candidates ------------------------------------------------------------------------------

    def _match_ratios(self, ratios: dict[str, float]) -> dict[int, float]:
        explicit: dict[int, float] = {}
        for pattern, ratio in ratios.items():
            layers = enumerate(self.graph.layers)
            hits = [i for i, layer in layers if layer.has_weight and fnmatchcase(layer.name, pattern)]
            if not hits:
                names = ", ".join([layer.name for layer in self.graph.layers if layer.has_weight][:4])
                raise ValueError(f"ratios: {pattern!r} matches no layer; the layers are {names}, ...")
            explicit |= dict.fromkeys(hits, ratio)
        return explicit

    def _begins(self) -> tuple[list[int], list[int]]:
        """Ops with which a span may begin, earliest first: those that train a convolution.

        The second list is of those that do so only when all that trains first is full.
        """
        graph = self.graph
        wanted = [i for i, r in self.explicit.items() if r > 0]
        native = [i for i in range(graph.trains_from, len(graph.ops)) if self._trains_a_convolution(i, 2.0)]
        if not native:
            if self.reach.foreign:
                raise UnsupportedModel(
                    "no convolution can train natively: each is, or has behind it, what only torch runs: "
                    f"{listed(self.reach.foreign)}. {remedies(self.reach.foreign)}"
                )
            if any(layer.is_convolution for layer in graph.layers):
                if not any(ratio == 0 for ratio in self.explicit.values()):
                    raise UnsupportedModel(
                        "no convolution can train: more than one activation goes from what comes before it into what "
                        f"comes behind it, and both would have to be kept. {remedies(())}"
                    )
                raise ValueError("ratios: they freeze every convolution; training a classifier alone is no plan")
            raise UnsupportedModel("the model has no convolution to train; training a classifier alone is no plan")
        first = [i for i, op in enumerate(graph.ops) if set(op.layers) & set(wanted)]
        if first:
            if first[0] < graph.trains_from:
                names = [graph.layers[x].name for x in graph.ops[first[0]].layers]
                raise UnsupportedModel(
                    f"ratios: {names[0]} cannot train, behind it is what only torch runs: "
                    f"{listed(self.reach.foreign)}. {remedies(self.reach.foreign)}"
                )
            native = [i for i in native if i <= first[0]] or [first[0]]
        begins = [i for i in native if self._trains_a_convolution(i, 0.0)] or native
        return begins, [i for i in native if i not in begins]

    def _trains_a_convolution(self, op: int, amount: float) -> bool:
        """Whether a span that begins with this op trains a convolution of it."""
        selected = self.selected(op, amount)
        return any(selected[x] > 0 and self.graph.layers[x].is_convolution for x in self.graph.ops[op].layers)

    def selected(self, begin: int, amount: float) -> dict[int, int]:
        """Channels per layer: explicit ratios, all of the classifier, the others as :func:`.policy.divide` says."""
        span = self._span(begin)
        return {**span.channels, **divide(amount, span.first, span.others)}

    def _span(self, begin: int) -> _Span:
        """What :meth:`selected` knows of the span from op ``begin`` on whatever the amount, remembered."""
        if begin not in self._spans:
            layers, span = self.graph.layers, _Span({}, {}, {})
            for i in self.graph.layers_from(begin):
                if not layers[i].has_weight:
                    span.channels[i] = 0
                    continue
                share, channels = self.explicit.get(i, 1.0), layers[i].input.channels
                span.channels[i] = max(1, round(share * channels)) if share > 0 else 0
                if i not in self.explicit and layers[i].is_convolution:
                    divided = span.first if i in self.first else span.others
                    divided[i] = self.weights[i].per_channel, channels
            self._spans[begin] = span
        return self._spans[begin]

    def within_cap(self, selected: dict[int, int]) -> bool:
        """Whether ``max_update_ratio`` holds."""
        cap = self.request.max_update_ratio
        return cap is None or self.touched(selected) <= cap * self.conv_weights

    def worth(self, begin: int, amount: float) -> float:
        """What :func:`.policy.worth` says of training so much from op ``begin`` on."""
        layers = sum(self.graph.layers[i].has_weight for i in self.graph.layers_from(begin))
        return worth(self.touched(self.selected(begin, amount)), layers)

    def choice(self, begin: int, amount: float, block: int = SMALLEST_BLOCK) -> Choice:
        """The choice that trains so much from op ``begin`` on."""
        blocks = blocks_of(self.graph, block)
        r, selected = self.request, self.selected(begin, amount)
        return Choice(
            begin,
            selected,
            blocks,
            r.batch_size,
            r.momentum,
            r.normalise,
            r.sums,
            r.scores,
            r.train_bias,
            self.graph.makes_logits,
            r.scope,
            r.holds_pictures,
            self._pieces(begin, selected, blocks),
            r.activation_bits or 0,
        )

    def _pieces(self, begin: int, selected: dict[int, int], blocks: dict[int, int]) -> Pieces:
        """Those of the fewest bytes, where the budget covers these."""
        pieces = self._whole_step.smallest(begin) if self.request.whole_step else Pieces()
        if self.request.may_keep_inputs:
            pieces = replace(pieces, keeps=self._keeping.smallest(begin, selected, blocks))
        return pieces

    # -- search ----------------------------------------------------------------------------------

    def smallest(self) -> tuple[int, Choice]:
        """The cheapest plan there is.

        Raises:
            ValueError: ``max_update_ratio`` is below one channel per layer of every span.
        """
        options = [self.choice(b, self._lowest_amount(b)) for b in self.begins + self.late_begins]
        allowed = [c for c in options if self.within_cap(c.selected)]
        if not allowed:
            least = min(self.touched(c.selected) for c in options) / self.conv_weights
            raise ValueError(
                f"max_update_ratio: expected at least {least:.4%}, what the smallest plan touches "
                f"(one channel of each layer, or the explicit ratios), got {self.request.max_update_ratio:.4%}"
            )
        best = min(allowed, key=self.peak)
        closer = [widest(self.graph, best)]  # large buffers may lie closer together than small ones
        if self.request.whole_step:
            closer.append(replace(best, pieces=self._whole_step.widened(best.pieces, lambda _: True)))
        best = min([best, *closer], key=self.peak)
        return self.peak(best), best

    def best(self, budget: int) -> Choice:
        """The plan for a budget.

        Raises:
            BudgetExceeded: nothing fits; ``required`` is the smallest budget that would work.
        """
        required, smallest = self.smallest()
        if required > budget:
            what = "plan with gradient sums" if self.request.sums else "plan"
            raise BudgetExceeded(
                f"budget: {budget:,} bytes hold no {what} for batch {self.request.batch_size} at "
                f"{'x'.join(map(str, self.request.input_size))}; the smallest budget that works is {required:,} "
                f"bytes ({format_bytes(required)})",
                required,
                budget,
            )

        def fits(begin: int, block: int, amount: float) -> bool:
            choice = self.choice(begin, amount, block)
            return self.within_cap(choice.selected) and self.peak(choice) <= budget

        best = self._worthiest(fits) or smallest
        best = self._relaxed(best, budget)
        best = widened(self.graph, best, lambda wider: self.peak(wider) <= budget)
        if not self.request.whole_step:
            return best
        pieces = self._whole_step.widened(best.pieces, lambda p: self.peak(replace(best, pieces=p)) <= budget)
        return replace(best, pieces=pieces)

    def _worthiest(self, fits: Fits) -> Choice | None:
        """What is worth most of all that fits, each span with as many channels as fit."""
        usual, most = self._worthiest_span(USUAL_BLOCK, fits, 0.0)
        narrow, _ = self._worthiest_span(SMALLEST_BLOCK, fits, most * NARROW_PAYS)
        return narrow or usual

    def _worthiest_span(self, block: int, fits: Fits, most: float) -> tuple[Choice | None, float]:
        """The choice that is worth most with this channel block, if more than ``most``, and what it is worth."""
        best = None
        for begin in sorted(self.begins + self.late_begins):
            holds = partial(fits, begin, block)
            if not holds(self._lowest_amount(begin)):
                continue
            amount = self.least_amount(begin, most)
            if amount is not None and holds(amount):
                amount = self.largest_amount(holds, amount)
                best, most = self.choice(begin, amount, block), self.worth(begin, amount)
        return best, most

    def least_amount(self, begin: int, most: float) -> float | None:
        """The smallest amount with which a span is worth more than ``most``; None if none is."""
        low = self._lowest_amount(begin)
        if self.worth(begin, low) > most:
            return low
        if self.worth(begin, 2.0) <= most:
            return None
        return min(2.0, self.largest_amount(lambda a: self.worth(begin, a) <= most, low) + RESOLUTION)

    def _lowest_amount(self, begin: int) -> float:
        """The least that trains a convolution of the span's first op: more than one where all of them train late."""
        return 1 + RESOLUTION if begin in self.late_begins else 0.0

    @staticmethod
    def largest_amount(holds: Callable[[float], bool], low: float, high: float = 2.0) -> float:
        """The largest amount in [low, high] that ``holds``, within RESOLUTION; where that is not monotone, one such."""
        if holds(high):
            return high
        while high - low > RESOLUTION:
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    def _relaxed(self, choice: Choice, budget: int) -> Choice:
        """Lets blocks keep what they need not make again, or else numbers, as long as the peak stays inside the budget.

        The last ones first: what these keep is needed for the shortest time.
        """
        for op in sorted(choice.pieces.keeps, reverse=True):
            kept = choice.pieces.keeps
            for keeps in ({i: what for i, what in kept.items() if i != op}, {**kept, op: "input"}):
                relaxed = replace(choice, pieces=replace(choice.pieces, keeps=keeps))
                if self.peak(relaxed) <= budget:
                    choice = relaxed
                    break
        return choice
