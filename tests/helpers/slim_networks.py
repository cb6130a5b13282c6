"""A small member of every family in the catalogue: few channels, few blocks, the same parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import sparsebp
from declared_ops import timm, torchvision
from torch import nn
from torchvision.models import convnext, densenet, efficientnet, mobilenetv3, regnet, resnet, vgg
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.fcn import FCN, FCNHead
from zoo import Out

Make = Callable[[], nn.Module]


def _alexnet() -> nn.Module:
    model = torchvision.models.alexnet(num_classes=10)
    model.classifier = nn.Sequential(nn.Dropout(), nn.Linear(256 * 36, 32), nn.ReLU(inplace=True), nn.Linear(32, 10))
    return model


def _vgg() -> nn.Module:
    model = vgg.VGG(vgg.make_layers([8, "M", 16, "M", 32, 32, "M"], batch_norm=True), init_weights=False)
    model.classifier = nn.Sequential(nn.Linear(32 * 49, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, 10))
    return model


def _mobilenet_v3() -> nn.Module:
    settings, _ = mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.25)
    return mobilenetv3.MobileNetV3(settings, last_channel=64, num_classes=10)


def _efficientnet() -> nn.Module:
    rows = [(1, 3, 1, 8, 8, 1), (6, 5, 2, 8, 16, 2), (6, 3, 2, 16, 24, 1)]
    return efficientnet.EfficientNet([efficientnet.MBConvConfig(*row) for row in rows], 0.2, num_classes=10)


def _efficientnet_v2() -> nn.Module:
    fused = efficientnet.FusedMBConvConfig
    rows = [fused(1, 3, 1, 8, 8, 1), fused(4, 3, 2, 8, 16, 2), efficientnet.MBConvConfig(4, 3, 2, 16, 24, 1)]
    return efficientnet.EfficientNet(rows, 0.2, num_classes=10, last_channel=64)


def _regnet(squeeze: float | None) -> nn.Module:
    blocks = regnet.BlockParams.from_init_params(depth=4, w_0=8, w_a=8.0, w_m=2.0, group_width=8, se_ratio=squeeze)
    return regnet.RegNet(blocks, num_classes=10)


def _convnext() -> nn.Module:
    blocks = [convnext.CNBlockConfig(16, 32, 1), convnext.CNBlockConfig(32, None, 1)]
    return convnext.ConvNeXt(blocks, layer_scale=0.1, num_classes=10)


def _features() -> nn.Module:
    """Of a residual network, for what makes pixels of them."""
    return IntermediateLayerGetter(resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1]), {"layer3": "out"})


_TORCHVISION: dict[str, tuple[Make, int]] = {
    "alexnet": (_alexnet, 64),
    "convnext": (_convnext, 32),
    "densenet": (lambda: densenet.DenseNet(8, (2, 2), 16, num_classes=10), 32),
    "efficientnet": (_efficientnet, 32),
    "efficientnet_v2": (_efficientnet_v2, 32),
    "fcn": (lambda: Out(FCN(_features(), FCNHead(256, 4))), 32),
    "googlenet": (
        lambda: torchvision.models.googlenet(weights=None, num_classes=10, aux_logits=False, init_weights=False),
        64,
    ),
    "lraspp": (
        lambda: Out(
            torchvision.models.segmentation.lraspp_mobilenet_v3_large(
                weights=None, weights_backbone=None, num_classes=4
            )
        ),
        48,
    ),
    "mnasnet": (lambda: torchvision.models.MNASNet(0.25, 10), 32),
    "mobilenet_v3": (_mobilenet_v3, 32),
    "regnet_x": (lambda: _regnet(None), 32),
    "regnet_y": (lambda: _regnet(0.25), 32),
    "resnet, basic blocks": (lambda: resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], 10), 32),
    "resnet, bottlenecks": (lambda: resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], 10, width_per_group=16), 32),
    "resnext": (lambda: resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], 10, groups=8, width_per_group=4), 32),
    "shufflenet_v2": (lambda: torchvision.models.ShuffleNetV2([2, 2, 2], [8, 16, 32, 64, 64], 10), 32),
    "squeezenet": (lambda: torchvision.models.squeezenet1_1(num_classes=10), 48),
    "vgg_bn": (_vgg, 32),
}
#: Small as they are; those called ``test_`` exist for that.
_TIMM: dict[str, int] = {
    "dla46_c": 32,
    "ese_vovnet19b_dw": 32,
    "ghostnet_050": 32,
    "hgnetv2_b0": 32,
    "lcnet_035": 32,
    "mixnet_s": 32,
    "mnasnet_small": 32,
    "mobilenetv2_035": 32,
    "mobilenetv3_small_050": 32,
    "mobilenetv4_conv_small_035": 64,
    "regnetx_002": 32,
    "repghostnet_050": 32,
    "resnet10t": 32,
    "semnasnet_050": 32,
    "starnet_s050": 32,
    "test_byobnet": 32,
    "test_convnext": 32,
    "test_efficientnet": 32,
    "test_efficientnet_evos": 32,
    "test_efficientnet_gn": 32,
    "test_efficientnet_ln": 32,
    "test_nfnet": 32,
    "test_resnet": 32,
    "tf_mobilenetv3_small_minimal_100": 33,
    "tinynet_e": 32,
}
#: At even sizes, where TensorFlow's padding is on the right and below only.
_OWN: dict[str, tuple[Make, int]] = {
    "mobilenet_v2(padding=tf)": (lambda: sparsebp.models.mobilenet_v2(10, 0.25, last_channel=64, padding="tf"), 32),
    "efficientnet_lite0": (lambda: sparsebp.models.efficientnet_lite0(10), 34),
}
_PYTORCHCV: dict[str, int] = {
    "densenet40_k12_cifar10": 32,
    "fdmobilenet_wd4": 224,
    "menet108_8x1_g3": 224,
    "nin_cifar10": 32,
    "preresnet20_cifar10": 32,
    "resnet20_cifar10": 32,
    "seresnet20_cifar10": 32,
    "shufflenet_g3_wd4": 224,
    "sqnxt23_w1": 224,
}
_SMP = ("FPN", "Linknet", "Unet", "UnetPlusPlus")


def _timm(name: str) -> Make:
    return lambda: timm.create_model(name, num_classes=10)


def _pytorchcv(name: str) -> Make:
    def make() -> nn.Module:
        from pytorchcv.model_provider import get_model

        return get_model(name)

    return make


def _smp(name: str) -> Make:
    def make() -> nn.Module:
        import segmentation_models_pytorch

        more = {"decoder_channels": (16, 16, 8, 8, 8)} if name.startswith("Unet") else {}
        kind = getattr(segmentation_models_pytorch, name)
        return kind("tu-mobilenetv3_small_050", encoder_weights=None, classes=3, **more)

    return make


def _quietly(make: Make) -> Make:
    def made() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()

    return made


NETWORKS: dict[str, tuple[Make, tuple[int, ...]]] = {
    **{f"sparsebp.{name}": (make, (3, side, side)) for name, (make, side) in _OWN.items()},
    **{f"torchvision.{name}": (_quietly(make), (3, side, side)) for name, (make, side) in _TORCHVISION.items()},
    **{f"timm.{name}": (_quietly(_timm(name)), (3, side, side)) for name, side in _TIMM.items()},
    **{f"pytorchcv.{name}": (_quietly(_pytorchcv(name)), (3, side, side)) for name, side in _PYTORCHCV.items()},
    **{f"smp.{name}": (_quietly(_smp(name)), (3, 64, 64)) for name in _SMP},
}
