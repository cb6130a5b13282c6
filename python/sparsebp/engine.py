"""Between op graph and native program: specifications, bound weights, training rules.

An :class:`Engine` owns one native program. It keeps the program's pointers equal to the modules'
parameters, hands it the optimizer's rules, and knows which update is due.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from . import _C
from .errors import BudgetExceeded
from .graph import Graph, Layer

if TYPE_CHECKING:
    from .optim import SGD
    from .samplers import Sampler

#: Bytes of one channel block in the forward pass: it should stay in a second-level cache.
FORWARD_BLOCK_BYTES = 128 * 1024

#: Which engine trains a parameter in place, and in which rule slot.
OWNERS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


@dataclass(frozen=True)
class Choice:
    """What a planner decides; with graph and shapes it determines every byte."""

    begin: int  # first op of the span, an index into Graph.ops
    selected: dict[int, int]  # layer -> channels trained at once
    blocks: dict[int, int] = field(default_factory=dict)  # op -> backward channel block
    batch: int = 1
    momentum: bool = False
    sums: bool = False
    scores: bool = False
    train_bias: bool = True


def trains_bias(graph: Graph, layer: int, choice: Choice) -> bool:
    """Whether the bias or shift of a layer of the span trains; a linear layer's always does."""
    return choice.train_bias or graph.layers[layer].kind == "linear"


def layer_spec(layer: Layer, model: nn.Module) -> _C.LayerSpec:
    """The native description of one layer, frozen."""
    module = model.get_submodule(layer.name)
    norm = model.get_submodule(layer.norm) if layer.norm else None
    spec = _C.LayerSpec()
    spec.name = layer.name
    spec.shape = conv_shape(module, layer)
    spec.activation = getattr(_C.Activation, layer.activation)
    spec.has_bias = module.bias is not None
    spec.has_norm = norm is not None
    spec.eps = float(norm.eps) if isinstance(norm, nn.BatchNorm2d) else 0.0
    return spec


def conv_shape(module: nn.Module, layer: Layer) -> _C.ConvShape:
    """Geometry of a ``Conv2d`` or ``Linear`` on this layer's input."""
    shape = _C.ConvShape()
    shape.height, shape.width = layer.input.height, layer.input.width
    shape.out_height, shape.out_width = layer.output.height, layer.output.width
    setattr(shape, "in", layer.input.channels)
    shape.out = layer.output.channels
    if isinstance(module, nn.Conv2d):
        shape.groups = module.groups
        shape.kernel_h, shape.kernel_w = module.kernel_size
        shape.stride_h, shape.stride_w = module.stride
        shape.dilation_h, shape.dilation_w = module.dilation
        if module.padding == "same":  # torch puts the odd zero behind, so before is rounded down
            shape.pad_h, shape.pad_w = (
                d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size, strict=True)
            )
        elif module.padding != "valid":
            shape.pad_h, shape.pad_w = module.padding
    return shape


class SpecFactory:
    """Makes program specifications for many choices from one graph (a planner asks for hundreds)."""

    def __init__(self, graph: Graph, model: nn.Module) -> None:
        self.graph = graph
        self.itemsize = next(model.parameters()).element_size()
        self.first = graph.native_begin
        self.ops = graph.ops[self.first :]
        used = sorted({layer for op in self.ops for layer in op.layers})
        self.layer_ids = {layer: i for i, layer in enumerate(used)}
        # Assigning to a native spec copies, so one frozen description per layer serves every choice.
        self._layers = {layer: layer_spec(graph.layers[layer], model) for layer in used}
        (source,) = graph.crossing(self.first)
        live = sorted({source} | {op.output for op in self.ops})
        self.value_ids = {v: i for i, v in enumerate(live)}
        self._values = [_value_spec(graph, v) for v in live]
        self._source = source

    def layers_of_span(self, begin: int) -> list[int]:
        """Layers of the ops from ``begin`` (an index into Graph.ops) on."""
        return [layer for op in self.graph.ops[begin:] for layer in op.layers]

    def make(self, choice: Choice) -> _C.ProgramSpec:
        """The specification that realises ``choice``."""
        spec = _C.ProgramSpec()
        spec.values = self._values
        span = set(self.layers_of_span(choice.begin))
        layers = []
        for layer, item in self._layers.items():
            item.selected = choice.selected.get(layer, 0) if layer in span else 0
            item.train_bias = layer in span and trains_bias(self.graph, layer, choice)
            layers.append(item)
        spec.layers = layers
        spec.ops = [self._op(self.first + i, choice) for i in range(len(self.ops))]
        spec.input, spec.output = self.value_ids[self._source], self.value_ids[self.graph.output]
        spec.span_begin = choice.begin - self.first
        spec.batch = choice.batch
        spec.momentum, spec.sums, spec.scores = choice.momentum, choice.sums, choice.scores
        return spec

    def _op(self, index: int, choice: Choice) -> _C.OpSpec:
        op = self.graph.ops[index]
        spec = _C.OpSpec()
        spec.kind = getattr(_C.OpKind, op.kind)
        spec.inputs = [self.value_ids[v] for v in op.inputs]
        spec.output = self.value_ids[op.output]
        spec.layers = [self.layer_ids[layer] for layer in op.layers]
        spec.residual = op.residual
        spec.block = choice.blocks.get(index, 2 * _C.PANEL)
        spec.forward_block = self._forward_block(index, choice.batch)
        spec.activation = getattr(_C.Activation, op.activation)
        spec.drop = op.drop
        if op.pool is not None:
            spec.window = self._window(index)
            spec.count_padding = op.pool[6]
        return spec

    def _forward_block(self, index: int, batch: int) -> int:
        op = self.graph.ops[index]
        if op.kind not in ("block", "head"):
            return int(_C.PANEL)
        value = self.graph.values[op.inputs[0]]
        row = batch * value.height * value.width * self.itemsize
        return int(_C.PANEL) * max(2, FORWARD_BLOCK_BYTES // (row * _C.PANEL))

    def _window(self, index: int) -> _C.ConvShape:
        op = self.graph.ops[index]
        assert op.pool is not None
        source, result = self.graph.values[op.inputs[0]], self.graph.values[op.output]
        shape = _C.ConvShape()
        setattr(shape, "in", source.channels)
        shape.out = source.channels
        shape.height, shape.width = source.height, source.width
        shape.out_height, shape.out_width = result.height, result.width
        shape.kernel_h, shape.kernel_w, shape.stride_h, shape.stride_w = op.pool[:4]
        shape.pad_h, shape.pad_w = op.pool[4:6]
        return shape


def _value_spec(graph: Graph, v: int) -> _C.ValueSpec:
    value = graph.values[v]
    return _C.ValueSpec(value.height, value.width, value.channels)


def kernel_layout_(parameter: nn.Parameter | torch.Tensor) -> None:
    """Moves a weight, in place, to memory ordered HWIO (linear: input, output); shape and keys stay.

    One layer's worth of memory is held twice for a moment.
    """
    if in_kernel_layout(parameter):
        return
    data = parameter.detach()
    if data.dim() == 4:
        data = data.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    else:
        data = data.t().contiguous().t()
    parameter.data = data


def in_kernel_layout(parameter: torch.Tensor) -> bool:
    """Whether a weight's memory is HWIO already; strides of dimensions of size one do not count."""
    order = (2, 3, 1, 0) if parameter.dim() == 4 else (1, 0)
    return parameter.permute(order).is_contiguous()


class Engine:
    """One native program, its weights and its training state.

    Args:
        program: laid out, not yet allocated.
        layers: per native layer the module that holds weight and bias, and its batch norm or None.
        budget: bytes of the arena.
        sampler: draws the update sets.
        resample_every: optimizer steps from one draw to the next.
    """

    def __init__(
        self,
        program: _C.Program,
        spec: _C.ProgramSpec,
        layers: Sequence[tuple[nn.Module, nn.Module | None]],
        budget: int,
        sampler: Sampler,
        resample_every: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        try:
            program.allocate(budget)
        except BudgetExceeded:
            raise
        except MemoryError as error:
            raise MemoryError(
                f"budget: the system cannot give {budget:,} bytes for training and {program.workspace_peak:,} for "
                "activations"
            ) from error
        self.dtype = dtype
        self.program = program
        self.sampler = sampler
        self.resample_every = resample_every
        self.sums = bool(spec.sums)
        self.momentum = bool(spec.momentum)
        self.input_grad = bool(spec.input_grad)
        self.layers = list(layers)
        self.specs = list(spec.layers)
        self.steps = 0  # optimizer steps done
        self.turn = 0  # update sets drawn so far, less one
        self.forwards = 0  # training forward passes, the key of dropout
        self.rate_scale = 1.0
        self.rules = np.full((len(self.layers), 3, 3), -1.0)
        self.rules[:, :, 1:] = 0.0
        self._rules_address = self.rules.ctypes.data
        self._flight: weakref.ref[Flight] | None = None
        self._owns = False  # are the trained parameters registered with this engine
        self._optimizer: weakref.ref[SGD] | None = None
        self._slots: dict[tuple[int, int], int] = {}  # (layer, weight/bias/beta) -> parameter group
        self._due = False  # is a new draw due at the next training forward
        self._gather_sources()
        self._pointers: list[int] = []
        self.bind()
        self.draw()

    # -- weights ---------------------------------------------------------------------------------

    def _gather_sources(self) -> None:
        self._sources: list[tuple[dict[str, Any], str]] = []
        for module, norm in self.layers:
            self._sources += [(module._parameters, "weight"), (module._parameters, "bias")]
            if norm is not None:
                self._sources += [(norm._parameters, "weight"), (norm._parameters, "bias")]
                self._sources += [(norm._buffers, "running_mean"), (norm._buffers, "running_var")]
        self._sources = [(d, k) for d, k in self._sources if d.get(k) is not None]
        self._weights = [(module, module._parameters) for module, _ in self.layers]

    def bind(self) -> None:
        """Gives the program the current addresses, after moving weights to the kernels' layout.

        Raises:
            TypeError, ValueError: a parameter changed its dtype, device or shape.
        """
        dtype = self.dtype
        for i, (module, norm) in enumerate(self.layers):
            _check_layer(module, norm, self.specs[i], dtype)
        for i, (module, norm) in enumerate(self.layers):
            weight = module._parameters["weight"]
            assert weight is not None
            kernel_layout_(weight)
            address = [_address(module._parameters.get(k)) for k in ("weight", "bias")]
            if norm is not None:
                address += [_address(norm._parameters.get(k)) for k in ("weight", "bias")]
                address += [_address(norm._buffers.get(k)) for k in ("running_mean", "running_var")]
            self.program.bind(i, *address)
        self._pointers = [d[k].data_ptr() for d, k in self._sources]

    def rebind_if_moved(self) -> None:
        """``load_state_dict(assign=True)`` and ``.to()`` may replace memory; a step starts by noticing."""
        pointers = [d[k].data_ptr() for d, k in self._sources]
        if pointers != self._pointers or not all(
            in_kernel_layout(parameters["weight"]) for _, parameters in self._weights
        ):
            self.bind()
            if self._owns:
                self.own_parameters()

    def trained(self) -> list[nn.Parameter]:
        """The parameters that this program trains, in network order."""
        return [p for _, p in self._trained_slots()]

    def _trained_slots(self) -> list[tuple[tuple[int, int], nn.Parameter]]:
        out: list[tuple[tuple[int, int], nn.Parameter]] = []
        for i, ((module, norm), spec) in enumerate(zip(self.layers, self.specs, strict=True)):
            candidates = [(module._parameters["weight"], spec.selected > 0)]
            candidates.append((module._parameters.get("bias"), spec.train_bias))
            candidates.append((norm._parameters.get("bias") if norm else None, spec.train_bias))
            out += [((i, j), p) for j, (p, on) in enumerate(candidates) if on and p is not None]
        return out

    def own_parameters(self) -> None:
        """Registers the trained parameters, so that an optimizer finds this engine through them."""
        self._owns = True
        for slot, parameter in self._trained_slots():
            OWNERS[parameter] = (weakref.ref(self), slot)

    def disown_parameters(self) -> None:
        """Undoes :meth:`own_parameters`."""
        self._owns = False
        for _, parameter in self._trained_slots():
            OWNERS.pop(parameter, None)

    # -- optimizer -------------------------------------------------------------------------------

    def attach(self, optimizer: SGD, slots: dict[tuple[int, int], int]) -> None:
        """Makes ``optimizer`` the source of the training rules; ``slots`` maps parameters to its groups."""
        self._optimizer = weakref.ref(optimizer)
        self._slots = dict(slots)
        self.rules[:, :, 0] = -1.0  # what is in none of its groups does not train

    @property
    def optimizer(self) -> SGD | None:
        """The attached optimizer, while it lives."""
        return self._optimizer() if self._optimizer is not None else None

    def _refresh_rules(self) -> int:
        optimizer = self.optimizer
        if optimizer is None:
            raise RuntimeError(
                "backward: no sparsebp optimizer is attached, and the update is part of the backward pass. "
                "Create one first: opt = sparsebp.optim.SGD(model, lr=...); "
                "torch.optim cannot train parameters that never get a .grad"
            )
        optimizer.check(self)
        groups = optimizer.param_groups
        for (layer, parameter), group in self._slots.items():
            rule = groups[group]
            self.rules[layer, parameter] = (
                float(rule["lr"]) * self.rate_scale,
                rule["weight_decay"],
                rule["momentum"],
            )
        return self._rules_address

    def finish_step(self) -> None:
        """The optimizer's step: applies gradient sums if there are any, and makes the next draw due."""
        if self.sums:
            self.program.apply(self._refresh_rules())
            self._touch()
        self.steps += 1
        self._due = self.steps % self.resample_every == 0

    def sum_views(self) -> list[torch.Tensor]:
        """The gradient sums inside the arena as flat tensors, one per trained parameter."""
        return [view for i in range(len(self.layers)) for view in self.layer_sums(i).values()]

    def layer_sums(self, layer: int) -> dict[str, torch.Tensor]:
        """A layer's gradient sums by parameter: ``weight`` is [selected, kh, kw, out / groups], flat."""
        if not self.sums:
            return {}
        memory = self.program.arena.memory()
        out = {}
        for name in ("weight", "bias", "beta"):
            offset, count = self.program.sum_region(layer, name)
            if count:
                out[name] = torch.frombuffer(memory[offset : offset + count], dtype=self.dtype)
        return out

    # -- passes ----------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draws the update sets of turn ``self.turn``."""
        for i, spec in enumerate(self.specs):
            if 0 < spec.selected < getattr(spec.shape, "in"):
                self.sampler.draw(self.program, i, spec, self.turn)

    def _dropout_key(self) -> int:
        # Any odd 64-bit number keeps the sequences of different seeds apart; this one is 2^64 / golden ratio.
        return ((self.sampler.seed or 0) * 0x9E3779B97F4A7C15 + self.forwards) % 2**64

    def infer(self, first: int, last: int, x: int, y: int, images: int, drop: bool) -> None:
        """Runs ops without saving anything."""
        self.program.forward(first, last, x, y, images, False, drop, self._dropout_key())

    def forward(self, first: int, last: int, x: int, y: int, images: int) -> Flight:
        """A training forward pass; the returned flight is what the backward pass needs.

        Raises:
            RuntimeError: an earlier flight is still alive.
        """
        if self._flight is not None:
            earlier = self._flight()
            if earlier is not None and earlier.open:
                raise RuntimeError(
                    "forward: an earlier training forward pass still waits for its backward; "
                    "call loss.backward() first, drop its output, or use torch.no_grad() for inference"
                )
            self._flight = None
            self.program.discard()
        if self._due:
            self.turn += 1
            try:
                self.draw()
            except BaseException:  # a sampler of the user's own
                self.turn -= 1
                raise
            self._due = False
        self.program.forward(first, last, x, y, images, True, True, self._dropout_key())
        self.forwards += 1
        flight = Flight()
        self._flight = weakref.ref(flight, _landing(self))
        return flight

    def backward(self, flight: Flight, dy: int, dx: int, keep: bool = False) -> None:
        """The backward pass and, unless gradients are summed, the update.

        With ``keep`` no optimizer is needed, nothing is updated, and the pass can be repeated as long as
        ``flight`` lives and no other takes off: for programs of one op with gradient sums.
        """
        usable = flight.open or flight.kept
        if not usable or self._flight is None or self._flight() is not flight:
            raise RuntimeError(
                "backward: this forward pass was used already, or an error ended it; its saved channels are gone. "
                "Run the forward pass again (retain_graph has no effect here)"
            )
        try:
            self.rebind_if_moved()
            rules = self._rules_address if keep else self._refresh_rules()
            self.program.backward(dy, dx, rules, keep)
        except BaseException:
            self.abandon()
            raise
        flight.open, flight.kept = False, keep
        if not self.sums:
            self._touch()

    @property
    def flight(self) -> Flight | None:
        """The last training forward pass, while something holds its output."""
        return self._flight() if self._flight is not None else None

    def abandon(self) -> None:
        """Gives up the training forward pass in flight, whoever still holds its output."""
        flight = self.flight
        if flight is not None:
            flight.open = flight.kept = False
        self._flight = None
        self.program.discard()

    def _touch(self) -> None:
        """Native code wrote into the parameters: tell autograd."""
        torch.autograd.graph.increment_version(self.trained())

    # -- persistence -----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Counters and the persistent bytes of the arena (update sets, visited, scores, momentum, sums)."""
        memory = self.program.arena.memory()
        regions = {n: bytes(memory[o : o + b]) for n, o, b in self.program.persistent()}
        counters = {k: getattr(self, k) for k in ("steps", "turn", "forwards", "_due")}
        return {"regions": regions, **counters}

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts back what :meth:`state` returned.

        Raises:
            ValueError: it belongs to another plan.
        """
        memory = self.program.arena.memory()
        regions = {n: (o, b) for n, o, b in self.program.persistent()}
        saved = state["regions"]
        if {n: len(v) for n, v in saved.items()} != {n: b for n, (_, b) in regions.items()}:
            raise ValueError(
                "state: it was saved under another plan; expected the same model, budget and settings"
            )
        for name, data in saved.items():
            offset, count = regions[name]
            memory[offset : offset + count] = data
        for k in ("steps", "turn", "forwards", "_due"):
            setattr(self, k, state[k])


class Flight:
    """One training forward pass on its way to its backward. Dropping it abandons the pass."""

    __slots__ = ("__weakref__", "engine", "kept", "open", "shape")

    def __init__(self) -> None:
        self.open = True  # waits for its backward pass
        self.kept = False  # had one and can have another
        self.engine: Engine | None = None
        self.shape: tuple[int, ...] = ()


def _landing(engine: Engine) -> Callable[[weakref.ref[Flight]], None]:
    """What frees the arena when a flight is dropped; it keeps the engine alive no longer."""
    owner = weakref.ref(engine)

    def land(flight: weakref.ref[Flight]) -> None:
        engine = owner()
        if engine is not None and engine._flight is flight:
            engine.program.discard()

    return land


def _address(tensor: torch.Tensor | None) -> int:
    return tensor.data_ptr() if tensor is not None else 0


def _check_layer(module: nn.Module, norm: nn.Module | None, spec: _C.LayerSpec, dtype: torch.dtype) -> None:
    shape = spec.shape
    tensors = [
        ("weight", module._parameters.get("weight")),
        ("bias", module._parameters.get("bias")),
    ]
    if norm is not None:
        tensors += [(f"norm {k}", norm._parameters.get(k)) for k in ("weight", "bias")]
        tensors += [(f"norm {k}", norm._buffers.get(k)) for k in ("running_mean", "running_var")]
    for what, tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            raise ValueError(
                f"{spec.name}: its {what} is on {tensor.device}; this build trains on the CPU, move the model back"
            )
        if tensor.dtype != dtype:
            raise TypeError(
                f"{spec.name}: its {what} is {tensor.dtype}, the plan was made for {dtype}; restore the model, "
                "change its dtype and convert it again"
            )
        full = [shape.out, getattr(shape, "in") // shape.groups]
        full += [shape.kernel_h, shape.kernel_w] if isinstance(module, nn.Conv2d) else []
        expected = full if what == "weight" else [shape.out]
        if list(tensor.shape) != expected:
            raise ValueError(f"{spec.name}: its {what} is {list(tensor.shape)}, expected {expected}")
        if what != "weight" and not tensor.is_contiguous():
            raise ValueError(f"{spec.name}: its {what} is not contiguous in memory")
