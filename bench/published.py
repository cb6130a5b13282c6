"""What papers say of CIFAR-10 and training memory, for the picture that has them beside ours."""

from __future__ import annotations

from dataclasses import dataclass

_KB, _MB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Published:
    """A point of a paper.

    Attributes:
        name: of the method.
        bytes: of training memory, as the paper counts them.
        accuracy: top-1 on the test set of CIFAR-10, in [0, 1].
        network: which starts from ImageNet, and the pixels of its input.
        counts: what the paper's bytes are.
        source: where it says so.
    """

    name: str
    bytes: int
    accuracy: float
    network: str
    counts: str
    source: str


_TINYTL = {
    "network": "ProxylessNAS-Mobile, 224 pixels",
    "counts": "calculated, batch 8, the network's weights (8 bits where frozen) included",
    "source": "Cai et al., NeurIPS 2020, arXiv 2007.11622, table 2",
}

PUBLISHED: tuple[Published, ...] = (
    Published(
        "dynamic sparse update",
        256 * _KB,
        0.8577,
        "MobileNetV2",
        "features kept for the backward pass, batch 1",
        "Li & Chang, ISCAS 2024, arXiv 2503.17959",
    ),
    Published(
        "MCUNetV3",
        100 * _KB,
        0.8699,
        "MobileNetV2 of width 0.35 in int8, 128 pixels",
        "calculated: activations and masks kept and updated weights, without the rest of the step",
        "Lin et al., NeurIPS 2022, arXiv 2206.15472, table 2 of the appendix, mean of three runs",
    ),
    Published("last layer", 31 * _MB, 0.859, **_TINYTL),
    Published("TinyTL, biases", 32 * _MB, 0.937, **_TINYTL),
    Published("TinyTL, side modules", 37 * _MB, 0.961, **_TINYTL),
    Published("norms and last layer", 192 * _MB, 0.948, **_TINYTL),
    Published("every weight", 391 * _MB, 0.971, **_TINYTL),
)
