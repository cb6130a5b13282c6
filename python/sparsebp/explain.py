"""A plan in words: what decided where it begins, how many channels train, and where its bytes go."""

from __future__ import annotations

from dataclasses import replace

from .moments import moments
from .plan import CATEGORIES, CATEGORY_NAMES, Plan
from .planner import USUAL_BLOCK, Planner
from .units import format_bytes


def explain(planner: Planner, plan: Plan) -> list[str]:
    """Sentences about a plan that ``planner`` made, one paragraph each."""
    return [
        _span(plan),
        _beginning(planner, plan),
        _channels(planner, plan),
        _peak(plan),
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
    earlier = planner.choice(begin, planner.base_amount(begin), USUAL_BLOCK)
    if not planner.within_cap(earlier.selected):
        return (
            f"The span does not begin earlier: one channel of each layer from {name} on would already be "
            f"{planner.touched(earlier.selected) / planner.conv_weights:.2%} of the convolution weights, and "
            f"max_update_ratio allows {planner.request.max_update_ratio:.2%}."
        )
    needed = planner.peak(earlier)
    return (
        "The span is as long as the budget allows: more layers come before more channels in fewer layers. "
        f"One that begins at {name} and trains {planner.touched(earlier.selected) / planner.conv_weights:.2%} of all "
        f"weights in a step needs {needed:,} bytes, {needed - plan.budget:,} too many."
    )


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
    text += _division(planner, plan)
    if planner.explicit:
        text += f" {_count(len(planner.explicit), 'layer')} got a ratio by hand."
    more = _more_channels(planner, plan)
    if cap is not None and planner.touched(more) > cap * planner.conv_weights:
        return text + f" More would exceed max_update_ratio={cap:g}."
    return text + " More would exceed the budget."


def _division(planner: Planner, plan: Plan) -> str:
    layers = planner.graph.layers
    native = planner.graph.layers_from(planner.graph.native_begin)
    if all(i in planner.first for i in native if layers[i].kind != "linear"):
        return " Every layer gets the same number of weights, from one channel to all."
    first = {layers[i].name for i in planner.first}
    others = any(layer.name not in first for layer in plan.layers if layer.kind != "linear")
    rest = "the others take what is left" if others else "of the others only shifts and biases train"
    return (
        " Convolutions that widen, with more outputs than inputs, come first, the same number of weights in each, as "
        f"they learn most per weight and per saved byte; {rest}."
    )


def _more_channels(planner: Planner, plan: Plan) -> dict[int, int]:
    """The selection at the next larger ratio at which any layer trains one channel more."""
    chosen = plan.choice.selected
    for step in range(1, 8001):
        more = planner.selected(plan.choice.begin, step / 4000)
        if planner.touched(more) > planner.touched(chosen):
            return more
    return chosen


def _peak(plan: Plan) -> str:
    worst = max(moments(plan), key=lambda m: m.total)
    way = "forward" if worst.forward else "backward"
    parts = [f"{CATEGORY_NAMES.get(c, c)} {format_bytes(worst.bytes[c])}" for c in CATEGORIES if worst.bytes[c]]
    where = f" of {worst.name}" if worst.name else ""
    return (
        f"Memory is fullest in the {way} pass{where}: {', '.join(parts)}. The arena lays these out in "
        f"{plan.peak_bytes:,} of {plan.budget:,} bytes."
    )


def _updates(planner: Planner, plan: Plan) -> str:
    if plan.gradient_sums:
        return (
            "Gradients are summed in the arena and applied by the optimizer's step: several micro-batches make one "
            "exact batch."
        )
    needed = planner.peak(replace(plan.choice, sums=True))
    return (
        "Each weight row is updated in place as soon as its gradient is known. Gradient sums over micro-batches would "
        f"take the peak to {needed:,} bytes."
    )


def _literature(plan: Plan) -> str:
    counts = ", ".join(f"{plan.feature_bytes(bits):,} at {bits} bits" for bits in (32, 16, 8))
    return (
        "The literature counts only the inputs of the selected channels and one bit for each mask element. That would "
        f"be {counts} an element, in bytes."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
