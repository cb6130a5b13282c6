"""Networks that do not run wholly natively, and the kinds of ops that their plan or their refusal names.

One that starts to convert, or of which more is native, makes a test fail until it is taken out here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import sparsebp
from torch import nn

NOT_NATIVE: dict[str, tuple[str, ...]] = {}


def blocking(model: nn.Module, size: Sequence[int]) -> tuple[str, ...]:
    """What stands in the way, in order of appearance; where it is no op, what the refusal begins with."""
    try:
        reach = sparsebp.plan(model, "1GB", input_size=tuple(size)).reach
    except sparsebp.UnsupportedModel as refusal:
        text = " ".join(str(refusal).split())
        return tuple(re.findall(r"(\w[\w ()]*?) \(\d+, first: ", text)) or (re.split(r"[:;.] ", text)[0],)
    if reach.trainable == reach.layers:
        return ()
    return tuple(op.what for op in reach.foreign) or (f"{reach.trainable} of {reach.layers} layers",)
