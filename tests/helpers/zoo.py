"""Definitions of well-known networks, without weights: of torchvision, timm, pytorchcv and segmentation-models-pytorch,
and small ones as users write them."""

from __future__ import annotations

import re
import warnings

import torch
import user_networks
from declared_ops import timm, torchvision
from torch import nn

#: One or two of every family that people fine-tune.
TORCHVISION = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet"),
    *("googlenet(aux off)", "inception_v3", "inception_v3(aux off)"),
    *("mnasnet0_5", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_400mf"),
    *("regnet_y_400mf", "resnet18", "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    *("squeezenet1_0", "squeezenet1_1", "swin_t", "vgg11", "vgg11_bn", "wide_resnet50_2"),
    *("segmentation.fcn_resnet50", "segmentation.deeplabv3_mobilenet_v3_large"),
    *("segmentation.lraspp_mobilenet_v3_large", "detection.ssdlite320_mobilenet_v3_large"),
)
TIMM = (
    *("convnext_atto", "cspresnet50", "darknet53", "dla34", "dla46_c", "dpn68", "edgenext_xx_small"),
    *("efficientnet_es", "efficientnet_lite0", "efficientvit_b0", "ese_vovnet19b_dw", "fastvit_t8", "fbnetc_100"),
    *("ghostnet_100", "hardcorenas_a", "hgnetv2_b0", "hrnet_w18_small", "lcnet_050", "legacy_seresnet18", "mixnet_s"),
    *("mnasnet_small", "mobilenetv1_100", "mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small"),
    *("mobilenetv4_conv_medium", "mobileone_s0", "mobilevit_xxs", "nf_regnet_b0", "poolformer_s12", "regnetx_002"),
    *("regnety_002", "repghostnet_050", "repvgg_a0", "res2net50_26w_4s", "resnet10t", "resnet18d"),
    *("resnetv2_50", "rexnet_100", "selecsls42b", "semnasnet_075", "seresnet18", "spnasnet_100", "starnet_s1"),
    *("tf_efficientnet_lite0", "tf_mobilenetv3_small_minimal_100", "tinynet_a", "tinynet_e", "vovnet39a", "xception41"),
)
PYTORCHCV = (
    *("bninception", "diracnet18v2", "fdmobilenet_w1", "ibn_resnet50", "lwopenpose2d_mobilenet_cmupan_coco"),
    *("menet108_8x1_g3",),
    *("mobilenetb_w1", "nin_cifar10", "preresnet10", "preresnet18", "proxylessnas_mobile", "resnet10", "seresnet10"),
    *("shufflenet_g1_w1", "sqnxt23_w1", "wrn16_10_cifar10"),
)
SEGMENTATION_MODELS = ("DeepLabV3Plus", "FPN", "Linknet", "Unet", "UnetPlusPlus")
NETWORKS = (
    *(f"torchvision.{name}" for name in TORCHVISION),
    *(f"timm.{name}" for name in TIMM),
    *(f"pytorchcv.{name}" for name in PYTORCHCV),
    *(f"smp.{name}(resnet18)" for name in SEGMENTATION_MODELS),
    *(f"user.{name}" for name in user_networks.NETWORKS),
)

#: Pixels a side that a network wants, where 64 are not what it was made for or too few.
_SIDES = {
    "torchvision.inception_v3": 299,
    "torchvision.inception_v3(aux off)": 96,
    "torchvision.detection.ssdlite320_mobilenet_v3_large": 320,
    "pytorchcv.bninception": 224,
    "pytorchcv.diracnet18v2": 224,
    "pytorchcv.fdmobilenet_w1": 224,
    "pytorchcv.lwopenpose2d_mobilenet_cmupan_coco": 64,
    "pytorchcv.nin_cifar10": 32,
    "pytorchcv.wrn16_10_cifar10": 32,
}


class Out(nn.Module):
    """The one output of a segmentation network that training is about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)["out"]


def make(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A network as its library or its author initialises it, and the size of its input without the batch."""
    library, _, kind = name.partition(".")
    if library == "user":
        maker, size = user_networks.NETWORKS[kind]
        return maker(), size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _OF[library](kind)
    side = _SIDES.get(name, 224 if library == "pytorchcv" else 64)
    return model, (3, side, side)


def _of_torchvision(kind: str) -> nn.Module:
    family, _, _ = kind.rpartition(".")
    if family == "detection":
        detector = torchvision.models.get_model(kind.removeprefix("detection."), weights=None, weights_backbone=None)
        return detector.backbone
    if family == "segmentation":
        kind = kind.removeprefix("segmentation.")
        more = {} if kind.startswith("lraspp") else {"aux_loss": False}
        return Out(torchvision.models.get_model(kind, weights=None, weights_backbone=None, num_classes=5, **more))
    kind, aux_off, _ = kind.partition("(aux off)")
    more = {"init_weights": False} if kind in ("inception_v3", "googlenet") else {}
    more |= {"aux_logits": False} if aux_off else {}
    return getattr(torchvision.models, kind)(weights=None, num_classes=10, **more)


def _of_timm(kind: str) -> nn.Module:
    return timm.create_model(kind, num_classes=10)


def _of_pytorchcv(kind: str) -> nn.Module:
    from pytorchcv.model_provider import get_model

    return get_model(kind)


def _of_segmentation_models(kind: str) -> nn.Module:
    import segmentation_models_pytorch

    name, encoder = re.fullmatch(r"(\w+)\((\w+)\)", kind).groups()  # type: ignore[union-attr]
    return getattr(segmentation_models_pytorch, name)(encoder, encoder_weights=None, classes=4)


_OF = {
    "torchvision": _of_torchvision,
    "timm": _of_timm,
    "pytorchcv": _of_pytorchcv,
    "smp": _of_segmentation_models,
}


_GROWING = {"timm.mobileone_s0"}
"""Whose sums of branches grow to 1e12 unless their statistics are wholly those of what goes through."""


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """An untrained network, its statistics not those of a fresh one, in evaluation mode, and its input's size."""
    torch.manual_seed(0)
    model, size = make(name)
    for module in model.modules() if name in _GROWING else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model.train()(torch.randn(4, *size))
    return model.eval(), size
