"""Every kernel of every instruction set equals float64 torch up to rounding, element by element."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import gpu
import pytest
import sparsebp
import torch
from kernel_cases import Case, Chosen, check, native, reference, tensors
from networks import assert_within_rounding
from sparsebp import _C
from sparsebp.training.autograd import ConvFunction
from sparsebp.training.standalone_conv import StandaloneConv
from torch import nn

VARIANTS = [*((torch.float32, isa) for isa in _C.usable_isas()), (torch.float64, "scalar")]
if gpu.NAME:
    VARIANTS = [(torch.float32, "cuda")]
variants = pytest.mark.parametrize(
    ("dtype", "isa"), VARIANTS, ids=[f"{str(d).removeprefix('torch.')}-{isa}" for d, isa in VARIANTS]
)


@pytest.fixture(autouse=True)
def _nan_in_fresh_memory() -> Iterator[None]:
    """An element that a kernel leaves unwritten is NaN rather than whatever an earlier test computed."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def mobilenet_layers(size: int) -> list[Case]:
    """The distinct convolutions of MobileNetV2 for ``size`` px images."""
    found: dict[Case, None] = {}

    def look(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        found[
            Case(
                module.in_channels,
                module.out_channels,
                module.kernel_size[0],
                tuple(inputs[0].shape[2:]),
                module.stride[0],
                module.padding[0],
                1,
                module.groups,
                bias=False,
            )
        ] = None

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = sparsebp.models.mobilenet_v2().eval()
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(look)
        model(torch.empty(1, 3, size, size))
    return list(found)


def some(channels: int) -> list[int]:
    """About a quarter of the channels, unsorted."""
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(channels))
    return order[: max(1, channels // 4)].tolist()


@pytest.mark.parametrize("case", mobilenet_layers(64), ids=str)
@variants
def test_every_layer_of_mobilenet_v2(case: Case, dtype: torch.dtype, isa: str) -> None:
    check(case, some(case.channels), dtype, isa)


TAILS = (1, 3, 7, 9, 15, 16, 17)


@pytest.mark.parametrize("out", TAILS)
@pytest.mark.parametrize("channels", TAILS)
@variants
def test_pointwise_tails(channels: int, out: int, dtype: torch.dtype, isa: str) -> None:
    check(Case(channels, out, 1, (5, 3)), some(channels), dtype, isa)


@pytest.mark.parametrize("channels", [*TAILS, 31, 33, 40])
@pytest.mark.parametrize("stride", [1, 2])
@variants
def test_depthwise_tails(channels: int, stride: int, dtype: torch.dtype, isa: str) -> None:
    case = Case(channels, channels, 3, (7, 5), stride, 1, groups=channels)
    check(case, some(channels), dtype, isa)


@pytest.mark.parametrize("channels", TAILS)
@variants
def test_convolution_tails(channels: int, dtype: torch.dtype, isa: str) -> None:
    check(Case(channels, TAILS[-1 - TAILS.index(channels)], 3, (6, 5), 2, 1), some(channels), dtype, isa)


SHAPES = [
    Case(8, 12, 3, (7, 9), 2, 1),
    Case(8, 12, 3, (8, 6), 2, 0),
    Case(5, 6, 3, (9, 8), 1, 2, 2),
    Case(5, 6, 3, (11, 12), 2, 3, 3),
    Case(6, 4, (1, 5), (6, 9), (1, 2), (0, 2)),
    Case(6, 4, (4, 2), (9, 7), (3, 1), (2, 1), (1, 3)),
    Case(4, 6, 3, (6, 7), 1, "same"),
    Case(4, 6, (2, 4), (6, 7), 1, "same", (1, 2)),
    Case(4, 6, 3, (6, 7), 1, "valid"),
    Case(4, 6, 1, (7, 6), 3),
    Case(4, 6, 1, (5, 4), 1, 1),
    Case(4, 6, 2, (9, 10), 4),
    Case(4, 6, 5, (2, 3), 1, 2),
    Case(4, 6, 3, (1, 1), 1, 1),
    Case(4, 6, (3, 1), (3, 8)),
    Case(12, 8, 3, (6, 5), 1, 1, groups=4),
    Case(12, 18, 1, (6, 5), groups=3),
    Case(12, 12, 3, (7, 5), 2, 1, groups=2),
    Case(34, 51, 3, (5, 4), 1, 1, groups=17),
    Case(6, 12, 3, (6, 5), 1, 1, groups=6),
    Case(12, 12, 3, (9, 8), 1, 2, 2, 12),
    Case(12, 12, (5, 2), (9, 8), (2, 1), (2, 1), groups=12),
    Case(12, 12, 5, (8, 7), 2, "valid", groups=12),
    Case(9, 9, 4, (8, 7), 1, "same", groups=9),
    Case(9, 9, 9, (10, 8), 1, 4, groups=9),
    Case(9, 9, 3, (8, 7), 2, 1, groups=9, bias=False),
    Case(9, 7, 3, (8, 7), 2, 1, bias=False),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own
@pytest.mark.parametrize("chosen", ["one", "unsorted", "all"])
@pytest.mark.parametrize("case", SHAPES, ids=str)
@variants
def test_odd_shapes(case: Case, chosen: str, dtype: torch.dtype, isa: str) -> None:
    every = list(range(case.channels))
    # First and last, far apart, and not in order: the gather and the row tiles see gaps and steps back.
    unsorted = [every[-1], *every[: len(every) // 2]]
    check(case, {"one": every[-1:], "unsorted": unsorted, "all": every}[chosen], dtype, isa)


@pytest.mark.parametrize("images", [0, 1, 3])
@pytest.mark.parametrize(
    "case",
    [
        Case(9, 17, 1, (4, 3)),
        Case(17, 17, 3, (5, 4), 2, 1, groups=17),
        Case(6, 4, 3, (5, 4), 1, 1),
        Case(6, 4, 3, (5, 4), 1, 1, groups=2),
    ],
    ids=str,
)
@variants
def test_any_number_of_images(case: Case, images: int, dtype: torch.dtype, isa: str) -> None:
    check(replace(case, images=images), some(case.channels), dtype, isa)


@pytest.mark.parametrize(
    "case", [Case(9, 17, 1, (4, 3)), Case(17, 17, 3, (5, 4), 1, 1, groups=17), Case(6, 4, 3, (5, 4))], ids=str
)
@variants
def test_no_channel_selected(case: Case, dtype: torch.dtype, isa: str) -> None:
    """A frozen weight: nothing is saved, and the bias still trains."""
    conv = gpu.place(case.conv(dtype))
    runner = StandaloneConv(conv, 0, None, Chosen([]), isa="" if gpu.NAME else isa)
    x, _, _, dy = (None if t is None else gpu.place(t.to(dtype, copy=True)) for t in tensors(case))
    x.requires_grad_()
    with gpu.active():
        y, forward_pass = runner.forward(x)
    engine = runner.last
    assert engine.program.arena.held["saved"] == 0
    dx = torch.empty_like(x.detach(), memory_format=torch.channels_last)
    dy = dy.contiguous(memory_format=torch.channels_last)
    engine.backward(forward_pass, dy.data_ptr(), dx.data_ptr(), keep=True)
    y_ref, dx_ref, _, dbias_ref = reference(case)
    y_size, dx_size, _, dbias_size = reference(case, True)
    assert_within_rounding(y.cpu(), y_ref, y_size, conv.weight[0].numel() + 1)
    assert_within_rounding(dx.cpu(), dx_ref, dx_size, conv.weight[:, 0].numel())
    sums = engine.layer_sums(0)
    assert set(sums) == {"bias"}
    assert_within_rounding(sums["bias"].cpu(), dbias_ref, dbias_size, dy[:, 0].numel())


KINDS = [
    Case(33, 40, 1, (9, 7)),
    Case(40, 40, 3, (9, 7), 1, 1, groups=40),
    Case(17, 20, 3, (9, 7), 2, 1),
    Case(12, 20, 3, (9, 7), 1, 1, groups=4),
]


@pytest.mark.parametrize("case", KINDS, ids=str)
@variants
def test_the_number_of_threads_changes_no_bit(case: Case, dtype: torch.dtype, isa: str, threads: object) -> None:
    results = []
    for count in (1, 2, 3):
        threads(count)  # type: ignore[operator]
        results.append(native(case, some(case.channels), dtype, isa))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_inference_and_training_give_the_same_output(case: Case) -> None:
    conv = case.conv(torch.float32)
    runner = StandaloneConv(conv, 1, None, Chosen([0]))
    x = tensors(case)[0].float()
    assert torch.equal(runner.infer(x), runner.forward(x)[0])


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_any_memory_format_of_input_and_gradient(case: Case) -> None:
    """Contiguous, channels-last, strided and expanded tensors are the same numbers."""
    results = []
    x, _, _, dy = (None if t is None else t.float() for t in tensors(case))
    wide = torch.stack([x, -x], -1)[..., 0]
    dy = dy[:1, :, :1, :1].clone()
    for source in (x, x.contiguous(memory_format=torch.channels_last), wide):
        for make in (torch.Tensor.contiguous, torch.Tensor.clone, lambda t: t):
            conv = case.conv(torch.float32)
            runner = StandaloneConv(conv, 2, None, Chosen([3, 1]))
            leaf = source.detach().requires_grad_()
            y = ConvFunction.apply(leaf, conv.weight, conv.bias, runner)
            y.backward(make(dy.expand_as(y)))
            results.append((y.detach(), leaf.grad, conv.weight.grad, conv.bias.grad))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_an_unknown_instruction_set_is_refused() -> None:
    conv = Case(4, 4, 1, (2, 2)).conv(torch.float32)
    with pytest.raises(ValueError, match="sse9"):
        StandaloneConv(conv, 1, None, Chosen([0]), isa="sse9").infer(torch.zeros(1, 4, 2, 2))
