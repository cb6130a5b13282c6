"""Looking at a model without leaving a trace: whatever its code does while it is looked at is undone."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Undo = Callable[[], None]


class _Memory:
    """What the modules of a model, and everything that they hold, are."""

    def __init__(self, model: nn.Module) -> None:
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # so that no number of `_seen` is given to another object
        self._undo: list[Undo] = []
        self._look(model)

    def restore(self) -> None:
        with torch.no_grad():
            for undo in self._undo:
                undo()

    def _look(self, value: Any) -> None:
        if isinstance(value, (str, bytes, int, float, bool, type(None), type)) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._kept.append(value)
        if isinstance(value, torch.Tensor):
            self._undo.append(_tensor(value))
        elif isinstance(value, torch.Generator):
            state = value.get_state()
            self._undo.append(lambda: _wind_back(value, state))
        elif isinstance(value, np.ndarray):
            array = value.copy()
            self._undo.append(lambda: np.copyto(value, array))
        elif isinstance(value, torch.jit.ScriptModule):
            mode = value.training
            self._undo.append(lambda: setattr(value, "training", mode))
            for tensor in (*value.parameters(), *value.buffers()):
                self._look(tensor)
            for module in value.children():
                self._look(module)
        elif isinstance(value, dict):
            entries = dict(value)
            self._undo.append(lambda: _refill(value, entries))
            self._each(entries.values())
        elif isinstance(value, (list, deque)):
            items = list(value)
            self._undo.append(lambda: _replace(value, items))
            self._each(items)
        elif isinstance(value, set):
            members = set(value)
            self._undo.append(lambda: _reset(value, members))
        elif isinstance(value, tuple):
            self._each(value)
        elif isinstance(value, (nn.Module, SimpleNamespace)) or is_dataclass(value):
            self._look(vars(value))

    def _each(self, values: Any) -> None:
        for value in values:
            self._look(value)


def _tensor(tensor: torch.Tensor) -> Undo:
    if tensor.is_meta or nn.parameter.is_lazy(tensor):
        return lambda: None
    memory, wanted = tensor.detach(), tensor.requires_grad
    numbers = memory.clone()

    def undo() -> None:
        if tensor.data_ptr() != memory.data_ptr() or tensor.shape != memory.shape:
            tensor.data = memory
        if tensor.is_leaf and tensor.requires_grad != wanted:
            tensor.requires_grad_(wanted)
        if not _same_bits(memory, numbers):  # writing all the same would tell autograd of a change
            memory.copy_(numbers)

    return undo


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.layout != torch.strided or a.is_complex() or a.is_quantized:
        return torch.equal(a, b)
    bits = _INTEGERS[a.element_size()]
    return torch.equal(a.view(bits), b.view(bits))


def _wind_back(generator: torch.Generator, state: torch.Tensor) -> None:
    generator.set_state(state)


def _reset(members: set[Any], before: set[Any]) -> None:
    members.clear()
    members.update(before)


def _refill(table: dict[Any, Any], entries: dict[Any, Any]) -> None:
    same = len(table) == len(entries) and all(
        k is n and a is b for (k, a), (n, b) in zip(table.items(), entries.items(), strict=True)
    )
    if not same:
        table.clear()
        table.update(entries)


def _replace(items: Any, before: list[Any]) -> None:
    if len(items) != len(before) or any(a is not b for a, b in zip(items, before, strict=True)):
        items.clear()
        items.extend(before)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Afterwards parameters, buffers, modes and attributes of every module are what they were, bit by bit.

    So is what lists, dictionaries and the like among the attributes hold, and the states of the generators of random
    numbers of torch, Python and numpy. The weights are held twice meanwhile.
    """
    memory = _Memory(model)
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            memory.restore()
            random.setstate(python)
            np.random.set_state(numpy)


def random_state(device: torch.device) -> torch.Tensor:
    """The state of the generator that ops on ``device`` draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
