"""Networks that do not run wholly natively, and the kinds of ops that their plan or their refusal names.

One that starts to convert, or of which more is native, makes a test fail until it is taken out here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import sparsebp
from torch import nn

NOT_NATIVE: dict[str, tuple[str, ...]] = {
    "torchvision.googlenet": ("GoogLeNet.forward does different things in training mode and in evaluation mode",),
    "torchvision.inception_v3": ("Inception3.forward does different things in training mode and in evaluation mode",),
    "torchvision.swin_t": (
        "get_relative_position_bias",
        "shifted_window_attention (training mode gives it other arguments)",
        "LayerNorm",
        "Linear",
        "patch_merging_pad",
    ),
    "timm.edgenext_xx_small": ("normalize", "matmul", "softmax", "Linear", "mul", "LayerNorm"),
    "timm.efficientvit_b0": ("LiteMLA",),
    "timm.mobilevit_xxs": (
        "LayerNorm",
        "Linear",
        "reshape",
        "permute",
        "unbind",
        "getitem",
        "Identity",
        "scaled_dot_product_attention",
        "transpose",
        "Dropout",
        "add",
        "SiLU",
        "contiguous",
        "view",
    ),
    "timm.nf_regnet_b0": ("mul", "view", "batch_norm", "reshape_as", "conv2d"),
    "user.CBAM": ("a layer that is used more than once",),
    "user.stochastic depth": ("StochasticDepth.forward does different things in training mode and in evaluation mode",),
    "slim timm.test_efficientnet_evos": ("mul", "float", "var", "add", "sqrt", "to", "expand", "reshape", "truediv"),
    "slim user.CBAM": ("a layer that is used more than once",),
    "slim timm.test_nfnet": ("mul", "view", "batch_norm", "reshape_as", "conv2d"),
}


def in_the_way(plan: sparsebp.Plan) -> tuple[str, ...]:
    """What stands behind the layers that cannot train, in order of appearance."""
    reach = plan.reach
    if reach.trainable == reach.layers:
        return ()
    return tuple(op.what for op in reach.foreign) or (f"{reach.trainable} of {reach.layers} layers",)


def refused_for(refusal: sparsebp.UnsupportedModel) -> tuple[str, ...]:
    """The kinds that a refusal names; where it is about no op, what it begins with."""
    text = " ".join(str(refusal).split())
    return tuple(re.findall(r"(\w[\w ()]*?) \(\d+, first: ", text)) or (re.split(r"[:;.] ", text)[0],)


def blocking(model: nn.Module, size: Sequence[int]) -> tuple[str, ...]:
    """What keeps a network from running wholly natively."""
    try:
        return in_the_way(sparsebp.plan(model, "1GB", input_size=tuple(size)))
    except sparsebp.UnsupportedModel as refusal:
        return refused_for(refusal)
