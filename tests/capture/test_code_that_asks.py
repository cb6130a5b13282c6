"""Code that asks for sizes, lengths and the like while it is traced: answered where shapes alone tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sparsebp
import torch
from networks import relative_error
from odd_networks import Calls, classify
from sparsebp import UnsupportedModel
from sparsebp.capture.tracing import trace
from torch import fx, nn
from training import SIZE, assert_same, everything

Forward = Callable[[Calls, torch.Tensor], Any]


def branches_on_a_size(m: Calls, x: torch.Tensor) -> Any:
    if x.shape[-1] % 8 or x.dim() != 4 or x.dtype == torch.float16:
        raise ValueError("never here")
    return m.conv(x)


def counts_channels(m: Calls, x: torch.Tensor) -> Any:
    for i in range(x.shape[1]):
        x = x + i
    return m.conv(x)


def unpacks_chunks(m: Calls, x: torch.Tensor) -> Any:
    first, *others = m.conv(x).chunk(3, 1)
    return torch.cat([*others, first], 1)


def extends_a_list(m: Calls, x: torch.Tensor) -> Any:
    y = list(m.conv(x).split(1, 1))
    y.extend(part * 2 for part in y[1:])
    return torch.cat(y, 1) if len(y) == 5 else x


def takes_a_length(m: Calls, x: torch.Tensor) -> Any:
    return m.conv(x) * len(x[0]) if len(x.shape) == len(x.size()) == 4 else x


def iterates_backwards(m: Calls, x: torch.Tensor) -> Any:
    return torch.stack([row.sum((1, 2)) for row in reversed(m.conv(x).unbind(1))], 1)


def makes_numbers(m: Calls, x: torch.Tensor) -> Any:
    side = int(x.shape[2] * 0.5) + round(float(x.size(3)))
    return m.conv(x) * side


def views_by_the_batch(m: Calls, x: torch.Tensor) -> Any:
    n, c, h, w = x.shape
    x = m.conv(x).view(n, c, h // 2, 2, w) if h == w else x
    return x.transpose(2, 3).reshape(n, -1)


class Pyramid(nn.Module):
    """A module that stays one op and returns a dictionary."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        whole = {"fine": x, "coarse": nn.functional.avg_pool2d(x, 2)}
        return whole if x.sum() != 0.5 else {}


def reads_a_dictionary(m: Calls, x: torch.Tensor) -> Any:
    levels = m.pyramid(m.conv(x))
    total = sum(level.mean((2, 3)) for level in levels.values())
    names = {name: level.mean((2, 3)) for name, level in levels.items()}
    return total + names["fine"] if "coarse" in levels and len(list(levels)) == 2 else x


ANSWERED = [
    *(branches_on_a_size, counts_channels, unpacks_chunks, extends_a_list, takes_a_length, iterates_backwards),
    *(makes_numbers, views_by_the_batch, reads_a_dictionary),
]


def network(forward: Forward) -> Calls:
    torch.manual_seed(0)
    net = Calls(forward)
    net.add_module("pyramid", Pyramid())
    return net


@pytest.mark.parametrize("forward", ANSWERED, ids=lambda f: f.__name__)
def test_what_follows_from_shapes_is_traced_for_batches_of_any_size(forward: Forward) -> None:
    net = network(forward).eval()
    before, state = everything(net), torch.get_rng_state()
    traces, _ = trace(net, SIZE)
    assert_same(everything(net), before)
    assert torch.equal(torch.get_rng_state(), state)
    for images in (1, 2, 5):
        x = torch.randn(images, *SIZE)
        torch.testing.assert_close(fx.Interpreter(traces.evaluation).run(x), net(x))


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda m, x: m.conv(x) if x.sum() > 0 else x, "whether something is true, which depends on the numbers in"),
        (lambda m, x: m.conv(x) * (2 if x.sum().item() > 0 else 1), "it asks for the numbers in a tensor"),
        (lambda m, x: m.conv(x) * int(x.sum()), "a number, which depends on the numbers in a tensor"),
        (lambda m, x: m.conv(x) * len(x[x > 0]), "how many, which depends on the images of the batch"),
        (lambda m, x: m.conv(x) if x.shape[0] > 1 else x, "whether something is true, which depends on the images"),
        (lambda m, x: torch.stack([m.conv(image[None])[0] for image in x]), "how many, which depends on the images"),
        (lambda m, x: m.conv(x) if x.view(7, -1).dim() == 2 else x, "cannot be computed: shape"),
        (lambda m, x: m.conv(x) if torch.equal(x, x) else x, "it asks for the numbers in a tensor"),
    ],
    ids=["truth", "item", "int", "selection", "batch", "images", "error", "equal"],
)
def test_what_follows_from_more_than_shapes_is_refused_as_before(forward: Forward, words: str) -> None:
    net = network(forward)
    before = everything(net)
    with pytest.raises(UnsupportedModel, match=f"cannot be traced by torch.fx: .*{words}"):
        sparsebp.plan(net, "1MB", input_size=SIZE)
    assert_same(everything(net), before)


def test_statistics_are_not_touched_to_answer_in_training_mode() -> None:
    def forward(m: Calls, x: torch.Tensor) -> torch.Tensor:
        x = m.norm(m.conv(nn.functional.dropout(x, training=m.training)))
        return classify(m, x) if x.shape[1] == 3 else x

    net = network(forward).train()
    before, state = everything(net), torch.get_rng_state()
    sparsebp.plan(net, "1MB", input_size=SIZE)
    assert_same(everything(net), before)
    assert torch.equal(torch.get_rng_state(), state)


class CrossStage(nn.Module):
    """As the building block of newer detectors: halves, of which one goes through more convolutions."""

    def __init__(self, channels: int, repeats: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 2 * channels, 1)
        self.inner = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(repeats))
        self.last = nn.Conv2d((2 + repeats) * channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = list(self.first(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.inner)
        return self.last(torch.cat(y, 1))


def test_a_network_of_such_blocks_trains_behind_them() -> None:
    torch.manual_seed(0)
    head = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    net = nn.Sequential(CrossStage(3, 2), *head).eval()
    x = torch.randn(3, *SIZE)
    with torch.no_grad():
        expected = net(x)
    model = sparsebp.convert(net, "1MB", input_size=SIZE, batch_size=2)
    with torch.no_grad():
        assert relative_error(model(x), expected) < 1e-5
