"""A plan: which layers train, how many channels of each, and where every byte goes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..capture.trainable_layers import TrainableLayers
from ..files import as_path, write_atomically
from ..units import format_bytes
from .choice import Choice, by_names
from .fingerprint import Fingerprint
from .layer_table import layer_table
from .plain_data import check_keys, first_difference, read, without
from .plan_parts import Buffer, LayerPlan, most_alive
from .request import Request

#: What a file of a plan says of itself; a reader takes no other major version.
FORMAT, VERSION = "sparsebp plan", 4


@dataclass(frozen=True)
class Plan:
    """What ``convert`` will do with a budget. It prints as a table, and is data: :meth:`to_json` has all of it.

    Attributes:
        layers: trained layers in network order.
        budget: bytes of the arena.
        peak_bytes: highest byte of the arena that a step touches.
        inference_bytes: workspace for activations while the network runs natively on a processor; not training
            memory, and 0 where the budget covers the whole step. A GPU works on whole images and takes more,
            ``model.workspace.capacity``.
        weights_per_step: convolution weights that one step touches.
        conv_weights: all convolution weights of the model.
        buffers: every piece of the arena with offset and lifetime.
        choice: what was decided; the bytes follow from it.
        reach: how many layers of the network can train, and what stands behind the others.
        network: what it was made for, known by :attr:`Fingerprint.digest`.
        request: the keywords of ``convert`` that it was made with, all but the budget.
    """

    layers: tuple[LayerPlan, ...]
    budget: int
    peak_bytes: int
    inference_bytes: int
    weights_per_step: int
    conv_weights: int
    buffers: tuple[Buffer, ...] = field(repr=False)
    choice: Choice = field(repr=False)
    reach: TrainableLayers = field(repr=False)
    network: Fingerprint = field(repr=False)
    request: Request

    @property
    def input_size(self) -> tuple[int, ...]:
        """(C, H, W) of an image, or (C, L) of a signal."""
        return self.request.input_size

    @property
    def batch_size(self) -> int:
        """Images of one (micro-)batch."""
        return self.request.batch_size

    @property
    def itemsize(self) -> int:
        """Bytes of an element, 4 or 8."""
        return 8 if self.network.dtype == "float64" else 4

    @property
    def momentum(self) -> bool:
        """Whether momentum state is reserved."""
        return self.request.momentum

    @property
    def normalise(self) -> bool:
        """Whether a mean square is kept of every parameter's gradient."""
        return self.request.normalise

    @property
    def gradients(self) -> str:
        """``"sum"`` or ``"in_place"``, as it was asked for."""
        return self.request.gradients

    @property
    def gradient_sums(self) -> bool:
        """Whether gradients are summed in the arena and applied by ``optimizer.step()``.

        Else each weight row is updated in the backward pass, as soon as its gradient is known.
        """
        return self.request.sums

    @property
    def whole_step(self) -> bool:
        """Whether the budget covers all that a step needs but the weights, and not training alone."""
        return self.request.whole_step

    @property
    def update_ratio(self) -> float:
        """Share of all convolution weights that one step touches."""
        return self.weights_per_step / self.conv_weights

    def __getitem__(self, name: str) -> LayerPlan:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"{name!r} is not in the plan; it has {', '.join(x.name for x in self.layers)}")

    def __iter__(self) -> Iterator[LayerPlan]:
        return iter(self.layers)

    def peak_by_category(self) -> dict[str, int]:
        """Most bytes of each category alive at one moment. They need not fall together."""
        return most_alive(self.buffers)

    def feature_bytes(self, bits: int = 32) -> int:
        """Feature memory as papers count it: the selected channels' inputs at ``bits`` an element, and the masks.

        Of a block that keeps its input instead it is all of that. It leaves out gradients, scratch and state, and that
        kernels here save 32 bits, or 8 with ``saved_bits=8``.

        Args:
            bits: of an element, 1 to 64.

        Raises:
            ValueError: another number of bits.
        """
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 64:
            raise ValueError(f"bits: expected a whole number from 1 to 64, got {bits!r}")
        numbers = [replace(b, bytes=b.bytes * self.itemsize) if b.role == "levels" else b for b in self.buffers]
        held = most_alive(numbers)
        return held["saved"] // self.itemsize * bits // 8 + held["masks"]

    # -- as data ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, and what follows from it for people and other programs; see :meth:`from_dict`."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "layers": [asdict(layer) for layer in self.layers],
            **{name: getattr(self, name) for name in _NUMBERS},
            "input_size": list(self.input_size),
            **{name: getattr(self, name) for name in _FOLLOWING},
            "peak_by_category": self.peak_by_category(),
            "reach": asdict(self.reach),
            "settings": {"budget": self.budget, **self.request.to_dict()},
            "choice": self.choice.named(self.network),
            "buffers": [asdict(buffer) for buffer in self.buffers],
            "network": {"digest": self.network.digest, **asdict(self.network)},
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The plan as JSON, which :meth:`from_json` reads."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_dict(cls, data: Any) -> Plan:
        """The plan that :meth:`to_dict` wrote. Nothing in it is trusted; ``convert`` derives every byte again.

        Raises:
            ValueError: it is something else, of a newer version, or contradicts itself; the message says where.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError("plan: expected what Plan.to_json wrote, got something else")
        version = data.get("version")
        if type(version) is not int or version != VERSION:
            raise ValueError(f"plan: written in version {version!r}, this sparsebp reads {VERSION}")
        check_keys(data, _KEYS, "plan")
        check_keys(data["settings"], ["budget", *Request.__dataclass_fields__], "plan.settings")
        network = without(data["network"], "digest", "plan.network")
        known = read(Fingerprint, network, "plan.network")
        known.check()
        numbers = {name: read(int, data[name], f"plan.{name}") for name in _NUMBERS}
        try:
            choice = by_names(data["choice"], known)
        except ValueError as error:
            raise ValueError(f"plan.{error}") from error
        made = cls(
            layers=read(tuple[LayerPlan, ...], data["layers"], "plan.layers"),
            buffers=read(tuple[Buffer, ...], data["buffers"], "plan.buffers"),
            choice=choice,
            reach=read(TrainableLayers, data["reach"], "plan.reach"),
            network=known,
            request=Request.from_dict(without(data["settings"], "budget", "plan.settings"), "plan.settings"),
            **numbers,
        )
        made.check()
        different = first_difference(made.to_dict(), data, "plan")
        if different is not None:
            raise ValueError(f"{different}; it follows from the rest of the plan")
        return made

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """The plan that :meth:`to_json` wrote.

        Raises:
            TypeError, ValueError: it is no text, no JSON, or as :meth:`from_dict`.
        """
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"text: expected the JSON of a plan as str or bytes, got {type(text).__name__}")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"plan: not valid JSON ({error})") from error
        return cls.from_dict(data)

    def save(self, path: str | Path) -> None:
        """Writes :meth:`to_json` to a file, whole or not at all."""
        write_atomically(as_path(path, "path"), (self.to_json() + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """The plan of a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: as :meth:`from_json`; the message names the file.
        """
        file = as_path(path, "path")
        try:
            return cls.from_json(file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def check(self) -> None:
        """Raises ValueError where the parts of a plan from elsewhere contradict each other."""
        choice, request = self.choice, self.request
        for name, decided, asked in (
            ("batch", choice.batch, request.batch_size),
            ("sums", choice.sums, request.sums),
            ("pictures", choice.pictures, request.holds_pictures),
            ("activation_bits", choice.activation_bits, request.activation_bits or 0),
            *((n, getattr(choice, n), getattr(request, n)) for n in _AGREEING),
        ):
            if decided != asked:
                raise ValueError(f"plan.choice.{name}: expected {asked} as in the settings, got {decided}")
        if request.saved_bits == 32 and "input8" in choice.pieces.keeps.values():
            raise ValueError("plan.choice.pieces.keeps: expected no input8, as the settings say 32 bits")
        trained = {self.network.layers[i].name: count for i, count in choice.selected.items() if count}
        if not trained or {layer.name: layer.selected for layer in self.layers} != trained:
            raise ValueError("plan.layers: expected the layers of the choice, with as many channels")
        for i, layer in enumerate(self.layers):
            layer.check(f"plan.layers[{i}]")
        if not 0 < self.weights_per_step <= self.conv_weights:
            raise ValueError(f"plan.weights_per_step: expected 1 to {self.conv_weights}, got {self.weights_per_step}")
        cap = request.max_update_ratio
        if cap is not None and self.weights_per_step > cap * self.conv_weights:
            raise ValueError(f"plan.weights_per_step: expected at most {cap:.4%} of {self.conv_weights}")
        if not 0 < self.peak_bytes <= self.budget:
            raise ValueError(f"plan.peak_bytes: expected 1 to the budget, {self.budget}, got {self.peak_bytes}")
        for i, buffer in enumerate(self.buffers):
            buffer.check(f"plan.buffers[{i}]", self.network.native_ops, self.peak_bytes)

    # -- as text ---------------------------------------------------------------------------------

    def __rich_console__(self, *_: Any) -> Iterator[Any]:
        yield layer_table(self.layers)
        if self.reach.trainable < self.reach.layers:
            yield f"layers that can train         {self.reach}"
        if self.network.tail is not None and self.network.tail.ops:
            yield f"after the last layer, in torch  {self.network.tail.listed}"
        share = f"{self.update_ratio:.2%} of {self.conv_weights:,}"
        yield f"convolution weights per step  {self.weights_per_step:,} ({share})"
        what = "memory of a step, peak        " if self.whole_step else "training memory, peak         "
        yield f"{what}{self.peak_bytes:,} of {self.budget:,} bytes"
        for kind, count in self.peak_by_category().items():
            if count:
                yield f"  {f'at most {kind}':<28}{count:,}"
        if not self.whole_step:
            yield f"inference workspace           {self.inference_bytes:,} bytes ({format_bytes(self.inference_bytes)})"
        how = "summed in the arena, applied by step()" if self.gradient_sums else "applied row by row in backward()"
        yield f"batch {self.batch_size}, input {'x'.join(map(str, self.input_size))}"
        yield f"gradients {self.gradients}: {how}"

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        Console(file=out, width=120).print(self)
        return out.getvalue().rstrip()


#: Numbers of a plan, and what follows from its parts.
_NUMBERS = ("budget", "peak_bytes", "inference_bytes", "weights_per_step", "conv_weights")
_FOLLOWING = ("batch_size", "itemsize", "momentum", "normalise", "gradient_sums", "gradients", "update_ratio")
#: What a choice and the settings both say.
_AGREEING = ("scope", "momentum", "normalise", "scores", "train_bias")
_KEYS = [
    *("format", "version", "layers", *_NUMBERS, "input_size", *_FOLLOWING, "peak_by_category"),
    *("reach", "settings", "choice", "buffers", "network"),
]
