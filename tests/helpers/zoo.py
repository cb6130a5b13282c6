"""Definitions of well-known networks, by torchvision and timm, without weights."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path

import torch
from torch import nn

_OPS = torch.library.Library("torchvision", "FRAGMENT")


def _declare_ops() -> None:
    """torchvision's compiled ops do not load beside a CPU build of torch; its networks need only their names."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).with_name("_meta_registrations.py").read_text()
    for name in sorted(set(re.findall(r'(?:register_meta\("|torchvision::)(\w+)"', text))):
        if not hasattr(torch.ops.torchvision, name):
            _OPS.define(f"{name}(Tensor x) -> Tensor")


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _declare_ops()
    import timm
    import torchvision

#: One or two of every family that people fine-tune.
TORCHVISION = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5"),
    *("mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50"),
    *("shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "vgg11_bn"),
)
TIMM = (
    *("convnext_atto", "cspresnet50", "dla34", "dpn68", "edgenext_xx_small", "efficientnet_es", "efficientvit_b0"),
    *("ese_vovnet19b_dw", "fastvit_t8", "fbnetc_100", "ghostnet_100", "hardcorenas_a", "hgnetv2_b0", "lcnet_050"),
    *("mixnet_s", "mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small", "mobilevit_xxs"),
    *("nf_regnet_b0", "poolformer_s12", "regnetx_002", "repghostnet_050", "repvgg_a0", "res2net50_26w_4s"),
    *("resnet10t", "resnet18d", "resnetv2_50", "rexnet_100", "selecsls42b", "semnasnet_075", "starnet_s1"),
    *("tf_mobilenetv3_small_minimal_100", "tinynet_e", "xception41"),
)
NETWORKS = (*(f"torchvision.{name}" for name in TORCHVISION), *(f"timm.{name}" for name in TIMM))


def network(name: str) -> tuple[nn.Module, int]:
    """An untrained network, its statistics not those of a fresh one, in evaluation mode, and its input's side."""
    library, _, kind = name.partition(".")
    torch.manual_seed(0)
    size = 299 if kind == "inception_v3" else 64  # less is too small for what it adds in training mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if library == "timm":
            model = timm.create_model(kind, num_classes=10)
        else:
            more = {"init_weights": False} if kind in ("inception_v3", "googlenet") else {}
            model = getattr(torchvision.models, kind)(weights=None, num_classes=10, **more)
        with torch.no_grad():
            model.train()(torch.randn(4, 3, size, size))
    return model.eval(), size
