"""What reaches native code: whatever Python hands over is refused with a reason or runs, and nothing is half-changed.

The native tests have every rule (test_validate*.cpp, test_boundary.cpp, test_training_state.cpp); here are the way
there and the types of errors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sparsebp import _C

SIZE, CHANNELS = 8, 16


def conv_layer(channels_in: int = CHANNELS, channels_out: int = CHANNELS, size: int = SIZE) -> _C.LayerSpec:
    layer, shape = _C.LayerSpec(), _C.ConvShape()
    setattr(shape, "in", channels_in)
    shape.out = channels_out
    shape.height = shape.width = shape.out_height = shape.out_width = size
    layer.name, layer.shape, layer.selected = "layer", shape, 1
    return layer


def op(kind: _C.OpKind, inputs: list[int], output: int, layers: tuple[int, ...] = ()) -> _C.OpSpec:
    spec = _C.OpSpec()
    spec.kind, spec.inputs, spec.output, spec.layers = kind, inputs, output, list(layers)
    return spec


def program_spec(values: list[_C.ValueSpec], layers: list[_C.LayerSpec], ops: list[_C.OpSpec]) -> _C.ProgramSpec:
    spec = _C.ProgramSpec()
    spec.values, spec.layers, spec.ops = values, layers, ops
    spec.output = len(values) - 1
    return spec


def residual() -> _C.ProgramSpec:
    """A convolution, then the sum of its input and output."""
    values = [_C.ValueSpec(SIZE, SIZE, CHANNELS)] * 3
    return program_spec(values, [conv_layer()], [op(_C.OpKind.conv, [0], 1, (0,)), op(_C.OpKind.add, [1, 0], 2)])


class Subject:
    """A program, its weights, and memory to call it on."""

    def __init__(self, spec: _C.ProgramSpec | None = None, bind: bool = True) -> None:
        self.program = _C.Program(spec if spec is not None else residual())
        self.program.allocate(self.program.training_peak)
        self.weight = np.zeros(CHANNELS * CHANNELS, np.float32)
        self.x, self.y = (np.zeros(SIZE * SIZE * CHANNELS, np.float32) for _ in range(2))
        self.rules = [_C.LayerRule()]
        if bind:
            self.program.bind(0, self.weight.ctypes.data)

    def forward(self, first: int = 0, last: int = 2, images: int = 1, save: bool = False) -> None:
        self.program.forward(first, last, self.x.ctypes.data, self.y.ctypes.data, images, save)

    def write_indices(self, data: bytes) -> None:
        offset = next(at for name, at, _ in self.program.persistent() if name == "indices")
        self.program.write(offset, data)

    def backward(self, rules: list[_C.LayerRule] | None = None) -> None:
        self.program.backward(self.y.ctypes.data, 0, self.rules if rules is None else rules)


def head_of_another_shape() -> _C.ProgramSpec:
    values = [_C.ValueSpec(1, 1, 1), _C.ValueSpec(1, 1, 32)]
    return program_spec(values, [conv_layer(CHANNELS, 32)], [op(_C.OpKind.head, [0], 1, (0,))])


def enlarging_convolution() -> _C.ProgramSpec:
    layer = conv_layer()
    shape = layer.shape
    shape.height = shape.width = 2
    layer.shape = shape
    values = [_C.ValueSpec(2, 2, CHANNELS), _C.ValueSpec(SIZE, SIZE, CHANNELS)]
    return program_spec(values, [layer], [op(_C.OpKind.conv, [0], 1, (0,))])


def layer_that_runs_twice() -> _C.ProgramSpec:
    ops = [op(_C.OpKind.conv, [0], 1, (0,)), op(_C.OpKind.conv, [1], 2, (0,))]
    return program_spec([_C.ValueSpec(SIZE, SIZE, CHANNELS)] * 3, [conv_layer()], ops)


def convolution_of_size(size: int) -> Callable[[], _C.ProgramSpec]:
    def make() -> _C.ProgramSpec:
        values = [_C.ValueSpec(size, size, CHANNELS)] * 2
        return program_spec(values, [conv_layer(size=size)], [op(_C.OpKind.conv, [0], 1, (0,))])

    return make


def unknown(field: str, make: Callable[[int], Any]) -> Callable[[], _C.ProgramSpec]:
    def spec() -> _C.ProgramSpec:
        spec = residual()
        ops = list(spec.ops)
        setattr(ops[1], field, make(77))
        spec.ops = ops
        return spec

    return spec


def changed(field: str, value: Any) -> Callable[[], _C.ProgramSpec]:
    def spec() -> _C.ProgramSpec:
        spec = residual()
        setattr(spec, field, value)
        return spec

    return spec


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (head_of_another_shape, r"op 0 \(head\): its input: expected 8x8x16, got 1x1x1"),
        (enlarging_convolution, r"layer 0 \(layer\): out_height: expected 2 .*, got 8"),
        (layer_that_runs_twice, "op 1: layers: layer 0 belongs to op 0 already"),
        (convolution_of_size(2**31), "value 0: height: expected 1 to 2147483647, got 2147483648"),
        (convolution_of_size(2**31 - 1), "value 0: numbers in a batch: expected at most"),
        (convolution_of_size(2**62), "value 0: height: expected"),
        (convolution_of_size(0), "value 0: height: expected 1 to 2147483647, got 0"),
        (convolution_of_size(-8), "value 0: height: expected 1 to 2147483647, got -8"),
        (unknown("kind", _C.OpKind), "op 1: unknown kind 77"),
        (unknown("activation", _C.Activation), r"op 1 \(add\): activation: expected 0 to 14, got 77"),
        (changed("batch", 0), "batch: expected 1 to"),
        (changed("batch", 2**62), "batch: expected 1 to"),
        (changed("ops", []), "ops: a program needs at least one"),
        (changed("values", []), "values: a program needs"),
        (changed("layers", []), r"op 0 \(conv\): layers: there is no 0"),
        (changed("span_begin", -1), "span_begin: expected 0 to 1, got -1"),
        (changed("output", 99), "output: expected 0 to 2, got 99"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_specification_that_does_not_hang_together(make: Callable[[], _C.ProgramSpec], words: str) -> None:
    for float64 in (False, True):
        with pytest.raises(ValueError, match=words):
            _C.Program(make(), float64)


def test_calls_at_the_wrong_moment() -> None:
    bare = _C.Program(residual())
    for call in (
        lambda: bare.arena,
        lambda: bare.workspace,
        lambda: bare.forward(0, 2, 0, 0, 1, True),
        lambda: bare.backward(0, 0, []),
        lambda: bare.indices(0),
        lambda: bare.read(bare.persistent()[0][1]),
        bare.discard,
    ):
        with pytest.raises(RuntimeError, match="allocate was not called"):
            call()
    with pytest.raises(RuntimeError, match=r"layer 0 \(layer\) has no weights; call bind first"):
        Subject(bind=False).forward()
    subject = Subject()
    with pytest.raises(RuntimeError, match="no training forward pass"):
        subject.backward()
    with pytest.raises(RuntimeError, match="has its memory already"):
        subject.program.allocate(1 << 20)
    subject.forward(save=True)
    with pytest.raises(RuntimeError, match="still waits for its backward"):
        subject.program.draw(0, _C.Draw.uniform, 0, 0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.forward(1, 2), "forward: op 1 reads value 0, which exists before op 1"),
        (lambda s: s.forward(0, 1, save=True), "save: a training pass takes the whole span"),
        (lambda s: s.forward(0, 3), "expected 0 <= first < last <= 2 ops, got 0 and 3"),
        (lambda s: s.forward(-1, 2), "expected 0 <= first"),
        (lambda s: s.forward(images=2), "images: at most 1 images fit, got 2"),
        (lambda s: s.forward(images=-1), "images: at most 1 images fit, got -1"),
        (lambda s: s.program.forward(0, 2, 0, s.y.ctypes.data, 1, True), "input: expected the address of .* got null"),
        (lambda s: s.program.forward(0, 2, s.x.ctypes.data, 0, 1, True), "output: expected the address of .* got null"),
        (
            lambda s: s.program.forward(0, 2, s.x.ctypes.data + 1, s.y.ctypes.data, 1, True),
            "a multiple of their 4 bytes",
        ),
        (lambda s: s.program.bind(0, 0), "bind: layer: weight: expected the address of 256 numbers"),
        (lambda s: s.program.bind(0, s.weight.ctypes.data, s.x.ctypes.data), "bias: the layer has none"),
        (lambda s: s.program.bind(1, s.weight.ctypes.data), "bind: layer: expected 0 to 0, got 1"),
        (lambda s: s.program.indices(-1), "indices: layer: expected 0 to 0, got -1"),
        (lambda s: s.program.visited(1), "visited: layer: expected 0 to 0, got 1"),
        (lambda s: s.program.draw(0, _C.Draw(9), 0, 0), "method: expected 0 to 3, got 9"),
        (lambda s: s.program.set_indices(0, [16]), "channel 16 is out of range, 0 to 15"),
        (lambda s: s.program.set_indices(0, []), "expected 1 channels, got 0"),
        (lambda s: s.program.sum_region(0, "gamma"), "parameter: expected weight, bias or beta"),
        (lambda s: s.program.read(4), "no persistent region begins at 4"),
        (lambda s: s.write_indices(b""), "data: expected 4 bytes, got 0"),
        (lambda s: s.write_indices(b"\xff" * 4), "channel -1 is out of range, 0 to 15"),
        (lambda s: _C.set_plain_threads(10**6), "threads: expected at least 1, at most 64, got 1000000"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_arguments_that_cannot_be_right(call: Callable[[Subject], object], words: str) -> None:
    subject = Subject()
    used, peak = subject.program.arena.used, subject.program.arena.peak
    with pytest.raises(ValueError, match=words):
        call(subject)
    assert (subject.program.arena.used, subject.program.arena.peak) == (used, peak)
    assert not subject.program.in_flight
    subject.forward(save=True)
    subject.backward()


def test_gradients_and_rules_that_cannot_be_right_leave_the_pass_in_flight() -> None:
    subject = Subject()
    subject.forward(save=True)
    endless, rate = _C.LayerRule(), _C.ParameterRule()
    rate.rate, endless.weight = np.nan, rate
    for call in (
        lambda: subject.backward(rules=[]),
        lambda: subject.program.backward(0, 0, subject.rules),
        lambda: subject.backward(rules=[endless]),
    ):
        with pytest.raises(ValueError, match=r"rules: |output_grad: "):
            call()
        assert subject.program.in_flight
    subject.backward()
    assert not subject.program.in_flight


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.program.forward(0, 2, -1, -1, 1, True),
        lambda s: s.program.forward(0, 2, 2**64, 0, 1, True),
        lambda s: s.program.forward(0, 2**40, 0, 0, 1, True),
        lambda s: s.program.forward(0, 2, None, None, 1, True),
        lambda s: s.program.bind(0, s.weight),
        lambda s: s.program.allocate(-1),
        lambda s: s.program.set_indices(0, [2**40]),
        lambda s: s.program.draw(0, 3, 0, 0),
        lambda s: s.program.write(0, "text"),
        lambda s: _C.Program(None),
        lambda s: _C.ValueSpec(2**63, 1, 1),
        lambda s: _C.Program.__new__(_C.Program),
        lambda s: _C.LayerSpec.__new__(_C.LayerSpec),
        lambda s: object.__new__(_C.Arena),
        lambda s: type("Own", (_C.Program,), {}),
        lambda s: _C.Arena(),
        lambda s: copy.deepcopy(s.program),
    ],
)
def test_arguments_of_another_type(call: Callable[[Subject], object]) -> None:
    with pytest.raises(TypeError):
        call(Subject())


def test_a_budget_that_the_system_cannot_give_leaves_the_program_as_it_was() -> None:
    program = _C.Program(residual())
    with pytest.raises(MemoryError):
        program.allocate(2**63)
    with pytest.raises(RuntimeError, match="allocate was not called"):
        _ = program.arena
    program.allocate(program.training_peak)
    assert program.arena.capacity == program.training_peak
