"""A board's torch meets no instruction that its processor lacks, and computes what it should.

torch chooses many kernels when they are first used, so a wheel that imports may still die with "Illegal instruction" in
a product of half floats, say. ``make check-aarch64`` runs these on each emulated processor, where that ends the run and
Python says in which test.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from networks import relative_error
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

FLOATS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Types with how far from float64 they may be."""


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1, 8, 65, 300])
def test_products(dtype: torch.dtype, size: int) -> None:
    a, b = torch.rand(size, size + 3), torch.rand(size + 3, size + 1)
    operations: list[Callable[[Tensor, Tensor], Tensor]] = [
        torch.mm,
        lambda a, b: torch.mv(a, b[:, 0]),
        lambda a, b: torch.mv(b.t(), a[0]),
        lambda a, b: torch.dot(a[0], b[:, 0]),
        lambda a, b: torch.bmm(a[None], b[None])[0],
        lambda a, b: functional.linear(a, b.t().contiguous(), b[0]),
    ]
    for operation in operations:
        expected = operation(a.to(dtype).double(), b.to(dtype).double())
        assert relative_error(operation(a.to(dtype), b.to(dtype)), expected) <= FLOATS[dtype]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("size", "stride", "groups", "channels"), [(3, 2, 1, 3), (1, 1, 1, 32), (3, 1, 32, 32), (5, 1, 4, 32)]
)
def test_convolutions(
    layout: torch.memory_format, dtype: torch.dtype, size: int, stride: int, groups: int, channels: int
) -> None:
    images, weights = torch.rand(2, channels, 19, 20), torch.rand(32, channels // groups, size, size)

    def outputs(dtype: torch.dtype) -> list[Tensor]:
        x = images.to(dtype, memory_format=layout).requires_grad_()
        w = weights.to(dtype, memory_format=layout).requires_grad_()
        y = functional.conv2d(x, w, None, stride, size // 2, 1, groups)
        return [y, *torch.autograd.grad(y.sum(), (x, w))]

    for value, expected in zip(outputs(dtype), outputs(torch.float64), strict=True):
        assert relative_error(value, expected) <= 2 * FLOATS[dtype]


@pytest.mark.parametrize("dtype", FLOATS)
def test_elementwise(dtype: torch.dtype) -> None:
    x = torch.rand(1003) * 0.9 + 0.05
    names = "exp log sin cos tan tanh sigmoid sqrt rsqrt erf expm1 log1p asin atan ceil relu reciprocal"
    operations = [getattr(torch, name) for name in names.split()]
    operations += [functional.relu6, functional.gelu, functional.silu, functional.hardswish, functional.softplus]
    for operation in operations:
        assert relative_error(operation(x.to(dtype)), operation(x.to(dtype).double())) <= FLOATS[dtype]
    for other in [*FLOATS, torch.uint8, torch.int32, torch.int64, torch.bool]:
        x.to(dtype).to(other).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_reductions(dtype: torch.dtype) -> None:
    x = torch.rand(37, 41)
    for name in ["sum", "mean", "var", "amax", "cumsum", "softmax", "log_softmax", "logsumexp", "sort"]:
        for dim in (0, 1):
            value, expected = (getattr(torch, name)(x.to(t), dim=dim) for t in (dtype, torch.float64))
            if name == "sort":
                value, expected = value.values, expected.values
            assert relative_error(value, expected) <= 2 * FLOATS[dtype]
    assert x.to(dtype).argmax() == x.to(dtype).double().argmax()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_training(layout: torch.memory_format, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.AvgPool2d(2), nn.MaxPool2d(2), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).to(memory_format=layout)
    images, labels = torch.randn(4, 3, 24, 24).to(memory_format=layout), torch.randint(0, 10, (4,))
    rule = optimizer(model.parameters(), lr=0.01)
    for _ in range(2):
        rule.zero_grad()
        functional.cross_entropy(model(images), labels, label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rule.step()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(model.eval()(images).float()).all()


def test_linear_algebra() -> None:
    a = torch.randn(30, 30, dtype=torch.float64)
    a = a @ a.t() + torch.eye(30)
    for dtype in (torch.float64, torch.float32):
        b, one = a.to(dtype), torch.eye(30, dtype=dtype)
        u, s, v = torch.linalg.svd(b)
        assert relative_error(u @ torch.diag(s) @ v, a) <= 10 * FLOATS[dtype]
        assert relative_error(torch.linalg.solve(b, b), one) <= 100 * FLOATS[dtype]
        assert relative_error(torch.linalg.cholesky(b) @ torch.linalg.cholesky(b).t(), a) <= 10 * FLOATS[dtype]
        torch.linalg.eigh(b), torch.linalg.qr(b)


def test_pictures() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        picture = Image.open(file).resize((20, 24), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        for images in (x, x.float(), x.float().to(memory_format=torch.channels_last)):
            functional.interpolate(images, size=(33, 31), mode="bilinear", antialias=True)
