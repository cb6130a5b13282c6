"""MobileNetV2 in MNN, every weight trained, at 128 pixels: what bench/footprint.py --mnn runs where MNN is installed.

    pip install mnn==3.6.1 numpy

MNN trains nothing without `lazy_eval`, and only the classifier if `reduce_mean` stands for the pooling.
"""

from __future__ import annotations

from collections.abc import Iterator

import MNN
import numpy as np

nn, F = MNN.nn, MNN.expr
F.lazy_eval(True)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
SIZE, CLASSES = 128, 10


class Chain(nn.Module):
    """Modules one after the other; their sum with the input if they are a residual."""

    def __init__(self, parts: list[nn.Module], residual: bool = False) -> None:
        super().__init__()
        self.parts, self.residual = parts, residual
        for i, part in enumerate(parts):
            setattr(self, f"part{i}", part)  # which registers its parameters

    def forward(self, x):
        y = x
        for part in self.parts:
            y = part.forward(y)
        return x + y if self.residual else y


class ConvNorm(nn.Module):
    def __init__(self, inside: int, out: int, kernel: int, stride: int = 1, depthwise: bool = False, relu: bool = True):
        super().__init__()
        sizes = [kernel, kernel], [stride, stride], [0, 0], [1, 1]
        self.conv = nn.conv(inside, out, *sizes, depthwise, False, F.Padding_Mode.SAME)
        self.norm = nn.batch_norm(out, 4)
        self.relu = relu

    def forward(self, x):
        x = self.norm.forward(self.conv.forward(x))
        return F.relu6(x, 0.0, 6.0) if self.relu else x


class Head(nn.Module):
    def __init__(self, inside: int) -> None:
        super().__init__()
        self.inside, self.classifier = inside, nn.linear(inside, CLASSES)

    def forward(self, x):
        x = F.convert(F.avg_pool(x, [SIZE // 32] * 2, [SIZE // 32] * 2), F.NCHW)
        return F.softmax(self.classifier.forward(F.reshape(x, [-1, self.inside])), 1)


def block(inside: int, out: int, expansion: int, stride: int) -> Chain:
    middle = inside * expansion
    parts = [ConvNorm(inside, middle, 1)] if expansion > 1 else []
    parts += [ConvNorm(middle, middle, 3, stride, depthwise=True), ConvNorm(middle, out, 1, relu=False)]
    return Chain(parts, residual=stride == 1 and inside == out)


def network() -> Chain:
    parts: list[nn.Module] = [ConvNorm(3, 32, 3, 2)]
    inside = 32
    for expansion, out, count, stride in STAGES:
        for i in range(count):
            parts.append(block(inside, out, expansion, stride if i == 0 else 1))
            inside = out
    return Chain([*parts, ConvNorm(inside, 1280, 1), Head(1280)])


def train(steps: int) -> Iterator[None]:
    model = network()
    model.train(True)
    first = model.parts[0].conv.parameters[0]
    before = np.array(first.read())
    optimizer = MNN.optim.SGD(model, 0.0005, 0.0, 0.0)
    noise = np.random.default_rng(0)
    for step in range(steps):
        pixels = noise.standard_normal(3 * SIZE * SIZE).astype(np.float32).tolist()
        images = F.convert(F.const(pixels, [1, 3, SIZE, SIZE], F.NCHW), F.NC4HW4)
        target = F.one_hot(F.const([step % CLASSES], [1], F.NCHW, F.int), CLASSES, 1.0, 0.0)
        yield
        optimizer.step(nn.loss.cross_entropy(model.forward(images), target))
        yield
    if np.array_equal(before, np.array(model.parts[0].conv.parameters[0].read())):
        raise SystemExit("MNN trained nothing")
