"""Networks that end in what torch runs, with losses of their own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from networks import conv_norm
from torch import nn
from torch.nn import functional

SIZE, CLASSES = (3, 8, 8), 6
Loss = Callable[[Any, torch.Tensor], torch.Tensor]


class Network(nn.Module):
    """A body of two convolutions, layers for several heads, and the end that is given."""

    def __init__(self, end: Callable[[Network, torch.Tensor], Any]) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(3, 8), conv_norm(8, 12, stride=2))
        self.deeper = conv_norm(12, 12, stride=2)
        self.classifier, self.regressor = nn.Linear(12, CLASSES), nn.Linear(12, 4)
        self.pixels, self.aux = nn.Conv2d(12, CLASSES, 1), nn.Conv2d(12, CLASSES, 1)
        self.fine, self.coarse = nn.Conv2d(12, 2 * 5, 3, padding=1), nn.Conv2d(12, 2 * 5, 3, padding=1)
        self.filter = nn.Conv1d(12, CLASSES, 3)
        self.drop, self.log_softmax, self.softmax = nn.Dropout(0.5), nn.LogSoftmax(1), nn.Softmax(-1)
        self.register_buffer("scale", torch.linspace(0.5, 2, CLASSES))
        self.end = end

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(self, self.body(x))


def numbers(m: Network, x: torch.Tensor) -> torch.Tensor:
    """One number a class."""
    return m.classifier(x.mean((2, 3)))


class Case(NamedTuple):
    """An end of a network, and a loss of what it returns."""

    end: Callable[[Network, torch.Tensor], Any]
    loss: Loss


class Boxes(NamedTuple):
    """What a detector returns."""

    boxes: torch.Tensor
    scores: torch.Tensor


def scores(rows: torch.Tensor) -> torch.Tensor:
    return functional.one_hot(rows, CLASSES).to(torch.float64)


def log_shares(m: Network, x: torch.Tensor) -> torch.Tensor:
    return functional.log_softmax(numbers(m, x), dim=1)


def segments(m: Network, x: torch.Tensor) -> Any:
    size = (2 * x.shape[2], 2 * x.shape[3])
    out, aux = (functional.interpolate(head(x), size=size, mode="bilinear") for head in (m.pixels, m.aux))
    return OrderedDict(out=out, aux=aux)


def detects(m: Network, x: torch.Tensor) -> Any:
    maps = [m.fine(x), m.coarse(m.deeper(x))]
    rows = [y.permute(0, 2, 3, 1).reshape(y.shape[0], -1, 5) for y in maps]
    both = torch.cat(rows, 1)
    return Boxes(both[..., :4], both[..., 4].sigmoid())


def pixel_loss(y: Any, labels: torch.Tensor) -> torch.Tensor:
    wanted = labels[:, None, None].expand(-1, *y["out"].shape[2:])
    return functional.cross_entropy(y["out"], wanted) + 0.4 * functional.cross_entropy(y["aux"], wanted)


def box_loss(y: Boxes, labels: torch.Tensor) -> torch.Tensor:
    wanted = (labels % 2).to(y.scores.dtype)[:, None].expand_as(y.scores)
    return functional.smooth_l1_loss(y.boxes, torch.ones_like(y.boxes)) + functional.binary_cross_entropy(
        y.scores, wanted
    )


def cosine_loss(y: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (1 - (y * functional.normalize(scores(labels) + 0.1)).sum(1)).mean()


def pixel_cosine(y: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return 1 - (y * functional.normalize(scores(labels) + 0.1)[:, None, None]).sum(-1).mean()


def in_place_loss(y: Any, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(y[0], labels) + 0.1 * functional.mse_loss(y[1].tanh(), scores(labels)[:, :4])


def two_terms(y: Any, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(y[0], labels) + 0.5 * functional.mse_loss(y[1], scores(labels)[:, :4])


#: Of one activation that is handed over.
ONE: dict[str, Case] = {
    "log_softmax": Case(log_shares, functional.nll_loss),
    "embedding": Case(lambda m, x: functional.normalize(numbers(m, x)), cosine_loss),
    "multilabel": Case(
        lambda m, x: numbers(m, x).sigmoid(),
        lambda y, labels: functional.binary_cross_entropy(y, scores(labels)),
    ),
    "softmax of pixels": Case(
        lambda m, x: m.pixels(x).softmax(1),
        lambda y, labels: -y.log().mean((2, 3)).gather(1, labels[:, None]).mean(),
    ),
    "rows": Case(
        lambda m, x: m.pixels(x).flatten(2),
        lambda y, labels: functional.cross_entropy(y, labels[:, None].expand(-1, 16)),
    ),
    "buffer": Case(
        lambda m, x: {"scaled": functional.normalize(numbers(m, x)) * m.scale, "scale": m.scale},
        lambda y, labels: functional.cross_entropy(y["scaled"] / y["scale"].sum(), labels),
    ),
    "channels last": Case(
        lambda m, x: m.classifier(x.permute(0, 2, 3, 1)),
        lambda y, labels: functional.cross_entropy(y.mean((1, 2)), labels),
    ),
    "channels last, normalised": Case(
        lambda m, x: functional.normalize(m.classifier(x.permute(0, 2, 3, 1)), dim=-1), pixel_cosine
    ),
    "turned, normalised": Case(
        lambda m, x: functional.normalize(m.pixels(x).flatten(2).transpose(1, 2), dim=-1),
        lambda y, labels: functional.cross_entropy(5 * y.mean(1), labels),
    ),
    "signal": Case(lambda m, x: m.filter(x.flatten(2)), lambda y, labels: functional.cross_entropy(y.sum(2), labels)),
}
#: Of several.
SEVERAL: dict[str, Case] = {
    "classify and regress": Case(lambda m, x: (numbers(m, x), m.regressor(x.mean((2, 3)))), two_terms),
    "only one is asked for": Case(
        lambda m, x: [numbers(m, x), m.regressor(x.mean((2, 3))), x],
        lambda y, labels: functional.mse_loss(y[1], scores(labels)[:, :4]),
    ),
    "one twice": Case(
        lambda m, x: {"features": x.relu(), "logits": numbers(m, x)},
        lambda y, labels: functional.cross_entropy(y["logits"], labels) + y["features"].square().mean(),
    ),
    "written in place": Case(
        lambda m, x: (functional.normalize(numbers(m, x)).mul_(3), m.regressor(x.mean((2, 3))).erfinv_()), in_place_loss
    ),
    "segments": Case(segments, pixel_loss),
    "detects": Case(detects, box_loss),
}
