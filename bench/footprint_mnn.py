"""MobileNetV2 in MNN: what bench/footprint.py and bench/rivals.py run with --mnn, where MNN is installed.

    pip install mnn==3.6.1 numpy

MNN trains nothing without `lazy_eval`, and only the classifier if `reduce_mean` stands for the pooling or batch norms
are in evaluation mode. With frozen statistics they are therefore folded: a convolution has a bias instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import MNN
import numpy as np

nn, F = MNN.nn, MNN.expr
F.lazy_eval(True)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
SIZE, CLASSES, THREADS, RATE = 128, 10, 2, 0.0005


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
    """A convolution, its batch norm unless that is folded, and a ReLU6."""

    def __init__(
        self, inside: int, out: int, kernel: int, stride: int, folded: bool, depthwise: bool = False, relu: bool = True
    ) -> None:
        super().__init__()
        sizes = [kernel, kernel], [stride, stride], [0, 0], [1, 1]
        self.conv = nn.conv(inside, out, *sizes, depthwise, folded, F.Padding_Mode.SAME)
        self.norm = None if folded else nn.batch_norm(out, 4)
        self.relu = relu

    def forward(self, x):
        x = self.conv.forward(x)
        if self.norm is not None:
            x = self.norm.forward(x)
        return F.relu6(x, 0.0, 6.0) if self.relu else x


class Head(nn.Module):
    """Pooling over the whole picture, `pixels` x `pixels`, and the classifier."""

    def __init__(self, inside: int, pixels: int) -> None:
        super().__init__()
        self.inside, self.pool, self.classifier = inside, [pixels, pixels], nn.linear(inside, CLASSES)

    def forward(self, x):
        x = F.convert(F.avg_pool(x, self.pool, self.pool), F.NCHW)
        return F.softmax(self.classifier.forward(F.reshape(x, [-1, self.inside])), 1)


def block(inside: int, out: int, expansion: int, stride: int, folded: bool) -> Chain:
    middle = inside * expansion
    parts = [ConvNorm(inside, middle, 1, 1, folded)] if expansion > 1 else []
    parts.append(ConvNorm(middle, middle, 3, stride, folded, depthwise=True))
    parts.append(ConvNorm(middle, out, 1, 1, folded, relu=False))
    return Chain(parts, residual=stride == 1 and inside == out)


def network(size: int, folded: bool) -> list[nn.Module]:
    """Modules to run one after the other: `features.0` to `features.18`, then the head."""
    parts: list[nn.Module] = [ConvNorm(3, 32, 3, 2, folded)]
    inside = 32
    for expansion, out, count, stride in STAGES:
        for i in range(count):
            parts.append(block(inside, out, expansion, stride if i == 0 else 1, folded))
            inside = out
    return [*parts, ConvNorm(inside, 1280, 1, 1, folded), Head(1280, -(-size // 32))]


class Trainer:
    """Steps of SGD without momentum.

    Args:
        size: pixels of a picture.
        begin: what comes before `features.{begin}` is frozen, and the gradient stops there.
        folded: batch norms are folded into convolutions; otherwise they take the statistics of each batch.
    """

    def __init__(self, size: int, begin: int = 0, folded: bool = False, threads: int = THREADS, rate: float = RATE):
        F.set_thread_number(threads)
        parts = network(size, folded)
        self.frozen, self.tail = Chain(parts[:begin]), Chain(parts[begin:])
        self.frozen.train(False)
        self.tail.train(True)
        self.optimizer = MNN.optim.SGD(self.tail, rate, 0.0, 0.0)
        self.trained = {name for name, _ in self._named(self.tail, "tail")}

    def give(self, images: np.ndarray, labels: np.ndarray) -> None:
        """What the next steps train on: float32 [N, 3, size, size], integers [N]."""
        self.images = F.convert(F.const(images.ravel().tolist(), list(images.shape), F.NCHW), F.NC4HW4)
        self.labels = F.const(labels.tolist(), [len(labels)], F.NCHW, F.int)

    def step(self) -> None:
        x = self.images
        if self.frozen.parts:
            x = self.frozen.forward(x)
            x.fix_as_const()
        target = F.one_hot(self.labels, CLASSES, 1.0, 0.0)
        self.optimizer.step(nn.loss.cross_entropy(self.tail.forward(x), target))

    def weights(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from self._named(self.frozen, "frozen")
        yield from self._named(self.tail, "tail")

    def _named(self, chain: Chain, name: str) -> Iterator[tuple[str, np.ndarray]]:
        for i, weight in enumerate(chain.parameters):
            yield f"{name} {i}", np.array(weight.read())


def train(steps: int) -> Iterator[None]:
    """Trains every weight; between each pair of values one step, on a picture made before it."""
    trainer = Trainer(SIZE)
    first = trainer.tail.parts[0].conv.parameters[0]
    before = np.array(first.read())
    noise = np.random.default_rng(0)
    for step in range(steps):
        trainer.give(noise.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32), np.array([step % CLASSES]))
        yield
        trainer.step()
        yield
    if np.array_equal(before, np.array(first.read())):
        raise SystemExit("MNN trained nothing")
