"""Networks as users write them, small: name -> how to make one, and the size of its input without the batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from . import gated, heads, images, mobile, pixels, sequences

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **images.NETWORKS,
    **mobile.NETWORKS,
    **gated.NETWORKS,
    **pixels.NETWORKS,
    **sequences.NETWORKS,
    **heads.NETWORKS,
}
