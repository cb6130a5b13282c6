"""Looking at a model without leaving a trace: whatever its code does while it is looked at is undone."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import partial
from operator import is_
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from .copies import Copies

#: What nothing can be changed in.
_ATOMS = (str, bytes, int, float, bool, type(None), type)
Undo = Callable[[], object]


class _Memory:
    """What the modules of a model, and everything that they hold, are."""

    def __init__(self, model: nn.Module) -> None:
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # so that no number of `_seen` is given to another object
        self._empty: list[dict[Any, Any]] = []  # a module has ten dictionaries, most of them empty
        self._undo: list[Undo] = []
        self._copies = Copies()
        self._look(model)

    def restore(self) -> None:
        with torch.no_grad():
            for undo in self._undo:
                undo()
        for table in self._empty:
            if table:
                table.clear()

    def close(self) -> None:
        self._copies.close()

    def _look(self, value: Any) -> None:
        if isinstance(value, _ATOMS) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._kept.append(value)
        if isinstance(value, dict):
            self._look_into(value)
        elif isinstance(value, torch.Tensor):
            self._undo.append(_tensor(value, self._copies))
        elif isinstance(value, torch.Generator):
            self._undo.append(partial(value.set_state, value.get_state()))
        elif isinstance(value, np.ndarray):
            self._undo.append(partial(np.copyto, value, value.copy()))
        elif isinstance(value, torch.jit.ScriptModule):
            self._undo.append(partial(setattr, value, "training", value.training))
            self._each((*value.parameters(), *value.buffers(), *value.children()))
        elif isinstance(value, (list, deque)):
            self._undo.append(partial(_replace, value, list(value)))
            self._each(value)
        elif isinstance(value, set):
            self._undo.append(partial(_reset, value, set(value)))
        elif isinstance(value, tuple):
            self._each(value)
        elif isinstance(value, (nn.Module, SimpleNamespace)) or is_dataclass(value):
            self._look(vars(value))

    def _look_into(self, table: dict[Any, Any]) -> None:
        if not table:
            self._empty.append(table)
            return
        self._undo.append(partial(_refill, table, dict(table)))
        self._each(list(table.values()))

    def _each(self, values: Iterable[Any]) -> None:
        for value in values:
            self._look(value)


def _tensor(tensor: torch.Tensor, copies: Copies) -> Undo:
    if tensor.is_meta or nn.parameter.is_lazy(tensor):
        return lambda: None
    memory, wanted = tensor.detach(), tensor.requires_grad
    numbers_back = copies.keep(memory)

    def undo() -> None:
        if tensor.data_ptr() != memory.data_ptr() or tensor.shape != memory.shape:
            tensor.data = memory
        if tensor.is_leaf and tensor.requires_grad != wanted:
            tensor.requires_grad_(wanted)
        numbers_back()

    return undo


def _reset(members: set[Any], before: set[Any]) -> None:
    members.clear()
    members.update(before)


def _refill(table: dict[Any, Any], entries: dict[Any, Any]) -> None:
    same = len(table) == len(entries) and all(map(is_, table, entries)) and _are(table.values(), entries.values())
    if not same:
        table.clear()
        table.update(entries)


def _replace(items: Any, before: list[Any]) -> None:
    if len(items) != len(before) or not _are(items, before):
        items.clear()
        items.extend(before)


def _are(values: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(map(is_, values, others))


class _Randomness:
    """The generators of random numbers of torch, Python and numpy."""

    def __init__(self, model: nn.Module) -> None:
        devices = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
        self._gpus = [(device, torch.cuda.get_rng_state(device)) for device in devices]
        self._cpu, self._python = torch.get_rng_state(), random.getstate()
        # numpy loads its generators, 3 MB, when they are first asked for; until then nobody has drawn from them.
        self._numpy = np.random.get_state() if "numpy.random" in sys.modules else None

    def restore(self) -> None:
        torch.set_rng_state(self._cpu)
        for device, state in self._gpus:
            torch.cuda.set_rng_state(state, device)
        random.setstate(self._python)
        if self._numpy is not None:
            np.random.set_state(self._numpy)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[Undo]:
    """Afterwards parameters, buffers, modes and attributes of every module are what they were, bit by bit.

    So is what lists, dictionaries and the like among the attributes hold, and the states of the generators of random
    numbers of torch, Python and numpy.

    What it yields does the same at any moment in between: who looks several times begins each time with what there was.
    """
    memory, randomness = _Memory(model), _Randomness(model)

    def undo() -> None:
        memory.restore()
        randomness.restore()

    try:
        yield undo
    finally:
        undo()
        memory.close()


def random_state(device: torch.device) -> torch.Tensor:
    """The state of the generator that ops on ``device`` draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def seed_random(device: torch.device) -> None:
    """Seeds what ops on ``device``, and those beside it on the CPU, draw from.

    ``torch.manual_seed`` would seed every device there may be: a CUDA that nobody has used yet keeps that for later,
    and the stack with it, which takes milliseconds.
    """
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(0)
