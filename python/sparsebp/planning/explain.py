"""A plan in words: what decided where it begins, how many channels train, and where its bytes go."""

from __future__ import annotations

from dataclasses import replace

from ..units import format_bytes
from .channel_blocks import SMALLEST_BLOCK, USUAL_BLOCK
from .choice import Choice
from .pieces import KEEPS
from .plan import Plan
from .plan_parts import CATEGORIES, CATEGORY_NAMES
from .planner import RESOLUTION, Planner
from .policy import LAYERS_OVER_WEIGHTS, NARROW_PAYS, worth
from .timeline import timeline


def explain(planner: Planner, plan: Plan) -> list[str]:
    """Sentences about a plan that ``planner`` made, one paragraph each."""
    return [
        _span(plan),
        _beginning(planner, plan),
        _channels(planner, plan),
        _peak(plan),
        *([_forward(plan)] if plan.whole_step else []),
        *([_kept_inputs(plan)] if plan.choice.pieces.keeps else []),
        *([_kept_bits(plan)] if plan.choice.activation_bits else []),
        _updates(planner, plan),
        _literature(plan),
    ]


def _span(plan: Plan) -> str:
    first, last = plan.layers[0].name, plan.layers[-1].name
    text = f"{_count(len(plan.layers), 'layer')} from {first} to {last} train."
    if plan.choice.begin == 0:
        return text
    return f"{text} What comes before runs as in inference: it saves nothing, and no gradient reaches it."


def _beginning(planner: Planner, plan: Plan) -> str:
    earlier_begins = [begin for begin in planner.begins if begin < plan.choice.begin]
    if not earlier_begins:
        return (
            "The span cannot begin earlier: no convolution before it trains natively, is not frozen by a ratio, and "
            "widens."
        )
    begin = earlier_begins[-1]
    name = planner.graph.layers[planner.graph.ops[begin].layers[0]].name
    single = planner.choice(begin, 0.0)
    if not planner.within_cap(single.selected):
        return (
            f"The span does not begin earlier: the least from {name} on, one channel of each layer that widens or the "
            f"explicit ratios, would already be {_share(planner, single, 4)}, and max_update_ratio allows "
            f"{planner.request.max_update_ratio:.4%}."
        )
    layers, more_layers = (len(planner.graph.layers_from(b)) for b in (plan.choice.begin, begin))
    most, block = worth(plan.weights_per_step, layers), _block(plan)
    text = (
        f"Of all spans that fit with channel blocks of {block} this one is worth most, by the weights of a step times "
        f"the number of layers it spans to the power of {LAYERS_OVER_WEIGHTS}. The one that begins at {name} spans "
        f"{more_layers} layers instead of {layers}"
    )
    earlier = _worth_more(planner, begin, most, block)
    assert earlier is not None, "more layers with all their channels are worth more"
    if not planner.within_cap(earlier.selected):
        return f"{text}, and would need at least {_share(planner, earlier)}, more than max_update_ratio allows."
    needed = planner.peak(earlier)
    text += (
        f", and would need at least {_share(planner, earlier)}: {needed:,} bytes, {needed - plan.budget:,} too many."
    )
    narrow = _worth_more(planner, begin, most * NARROW_PAYS, SMALLEST_BLOCK) if block > SMALLEST_BLOCK else None
    if narrow is None:
        return text
    limit = f"{planner.peak(narrow):,} bytes"
    if not planner.within_cap(narrow.selected):
        limit = "more than max_update_ratio allows"
    return (
        f"{text} With channel blocks of {SMALLEST_BLOCK} instead of {block} steps are slower, so that it would have to "
        f"be worth {NARROW_PAYS:g} times as much: {_share(planner, narrow)}, {limit}."
    )


def _worth_more(planner: Planner, begin: int, most: float, block: int) -> Choice | None:
    """The smallest choice from op ``begin`` on that is worth more than ``most``; None if there is none."""
    amount = planner.least_amount(begin, most)
    return None if amount is None else planner.choice(begin, amount, block)


def _share(planner: Planner, choice: Choice, decimals: int = 2) -> str:
    return f"{planner.touched(choice.selected) / planner.conv_weights:.{decimals}%} of all convolution weights a step"


def _channels(planner: Planner, plan: Plan) -> str:
    cap = planner.request.max_update_ratio
    convolutions = [layer for layer in plan.layers if layer.kind != "linear"]
    shares = [layer.ratio for layer in convolutions]
    least, most = f"{min(shares):.1%}", f"{max(shares):.1%}"
    text = (
        f"A step trains {least if least == most else f'{least} to {most}'} of a convolution's input channels, at least "
        f"one, together {plan.update_ratio:.2%} of all convolution weights."
    )
    if plan.update_ratio == 1:
        return text + " That is every channel of every convolution."
    layers = planner.graph.layers
    if any(i not in planner.explicit and layers[i].is_convolution for i in plan.choice.selected):
        text += _division(planner, plan)
    if planner.explicit:
        text += f" {_count(len(planner.explicit), 'layer')} got a ratio by hand."
    more = _more_channels(planner, plan)
    if more is None:
        return text + " None of the others can train more."
    if not planner.within_cap(more):
        return text + f" More would exceed max_update_ratio={cap:g}."
    block = _block(plan)
    needed, narrow = (planner.peak(_with(plan, more, b)) for b in (block, SMALLEST_BLOCK))
    if needed <= plan.budget:
        return text
    text += " More would exceed the budget"
    return text + (f" with channel blocks of {block}; narrower ones are slower." if narrow <= plan.budget else ".")


def _block(plan: Plan) -> int:
    """The channel block that the planner chose the span and its channels with, before it widened some."""
    blocks = [width for op, width in plan.choice.blocks.items() if op >= plan.choice.begin]
    return min([USUAL_BLOCK, *blocks])


def _with(plan: Plan, selected: dict[int, int], block: int) -> Choice:
    return replace(plan.choice, selected=selected, blocks=dict.fromkeys(plan.choice.blocks, block))


def _division(planner: Planner, plan: Plan) -> str:
    layers = planner.graph.layers
    native = planner.graph.layers_from(planner.graph.trains_from)
    if all(i in planner.first for i in native if layers[i].is_convolution):
        return " Every layer gets the same number of weights, from one channel to all."
    first = {layers[i].name for i in planner.first}
    others = any(layer.name not in first for layer in plan.layers if layer.kind != "linear")
    shifts = "of the others only shifts and biases train" if planner.request.train_bias else "the others do not train"
    rest = "the others take what is left" if others else shifts
    return (
        " Convolutions that widen, with more outputs than inputs, come first, the same number of weights in each, as "
        f"they learn most per weight and per saved byte; {rest}."
    )


def _more_channels(planner: Planner, plan: Plan) -> dict[int, int] | None:
    """The next larger selection, or None where every layer without a ratio of its own trains all it can."""
    begin, touched = plan.choice.begin, planner.touched(plan.choice.selected)
    most = planner.largest_amount(lambda amount: planner.touched(planner.selected(begin, amount)) <= touched, 0.0)
    more = planner.selected(begin, most + RESOLUTION)
    return more if planner.touched(more) > touched else None


def _peak(plan: Plan) -> str:
    worst = max(timeline(plan), key=lambda m: m.total)
    way = "forward" if worst.forward else "backward"
    parts = [f"{CATEGORY_NAMES.get(c, c)} {format_bytes(worst.bytes[c])}" for c in CATEGORIES if worst.bytes[c]]
    where = f" of {worst.name}" if worst.name else ""
    return (
        f"Memory is fullest in the {way} pass{where}: {', '.join(parts)}. The arena lays these out in "
        f"{plan.peak_bytes:,} of {plan.budget:,} bytes."
    )


def _forward(plan: Plan) -> str:
    """How the forward pass stays inside a budget that covers it."""
    pieces, network = plan.choice.pieces, plan.network
    pictures = "the pictures as bytes" if plan.choice.pictures else "no pictures, which lie elsewhere"
    text = f"The budget covers all that a step needs but the weights: activations, the output and {pictures}."
    if not pieces.streams:
        return text
    names = [[network.layers[network.ops[i].layers[0]].name for i in (a, b - 1)] for a, b in pieces.streams]
    streams = " and ".join(first if first == last else f"{first} to {last}" for first, last in names)
    rows = [pieces.rows[i] for a, b in pieces.streams for i in range(a, b) if i in pieces.rows]
    some = f"{min(rows)} to {max(rows)} rows" if min(rows) < max(rows) else _count(rows[0], "row")
    return (
        f"{text} The frozen layers run depth first, {streams}: each makes {some} of its output at once, when the next "
        "one needs them, and holds only the rows that it will read again."
    )


def _updates(planner: Planner, plan: Plan) -> str:
    if plan.gradient_sums:
        return (
            "Gradients are summed in the arena, as was asked for, and applied by the optimizer's step: several "
            "micro-batches make one exact batch."
        )
    needed = planner.peak(replace(plan.choice, sums=True))
    return (
        "Each weight row is updated in place as soon as its gradient is known. To sum gradients over micro-batches "
        f'(gradients="sum") would take the peak to {needed:,} bytes.'
    )


def _kept_inputs(plan: Plan) -> str:
    keeps, network = plan.choice.pieces.keeps, plan.network
    named = {
        what: [network.layers[network.ops[op].layers[0]].name for op in keeps if keeps[op] == what] for what in KEEPS
    }
    parts = [f"{', '.join(names)} in {bits} bits" for names, bits in zip(named.values(), (32, 8), strict=True) if names]
    return (
        "Where that takes fewer bytes than masks and selected channels, a block keeps its input and makes these again "
        f"while it runs backward: {'; '.join(parts)}."
    )


def _kept_bits(plan: Plan) -> str:
    return (
        f"Of an activation that is a curve {plan.choice.activation_bits} bits of its derivative are kept, as was asked "
        "for, instead of its input: gradients that pass it are rounded."
    )


def _literature(plan: Plan) -> str:
    counts = ", ".join(f"{plan.feature_bytes(bits):,} at {bits} bits" for bits in (32, 16, 8))
    return (
        "The literature counts only the inputs of the selected channels and one bit for each mask element. That would "
        f"be {counts} an element, in bytes."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
