"""Looking at a model without leaving a trace: whatever its code does while it is looked at is undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_TABLES = ("_parameters", "_buffers", "_modules")


class _Module:
    """What one module was."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._attributes = dict(vars(module))
        self._tables = [(table, dict(table)) for table in (vars(module).get(name) for name in _TABLES) if table]

    def tensors(self) -> Iterator[torch.Tensor]:
        for _, entries in self._tables:
            yield from (t for t in entries.values() if isinstance(t, torch.Tensor))
        yield from (t for t in self._attributes.values() if isinstance(t, torch.Tensor))

    def restore(self) -> None:
        attributes: dict[str, Any] = vars(self._module)
        for table, entries in [(attributes, self._attributes), *self._tables]:
            if not _same_entries(table, entries):
                table.clear()
                table.update(entries)


class _Tensor:
    """What one tensor was: its memory, and the numbers in it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._memory = tensor.detach()
        self._numbers = self._memory.clone()

    def restore(self) -> None:
        if self._tensor.data_ptr() != self._memory.data_ptr() or self._tensor.shape != self._memory.shape:
            self._tensor.data = self._memory
        if not torch.equal(self._memory, self._numbers):
            self._memory.copy_(self._numbers)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Afterwards parameters, buffers, modes and attributes of every module are what they were, bit by bit.

    So are the states of torch's generators of random numbers. The weights are held twice meanwhile.
    """
    modules = [_Module(m) for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    found = {id(t): t for m in modules for t in m.tensors()}
    found |= {id(t): t for t in (*model.parameters(), *model.buffers())}
    tensors = [_Tensor(t) for t in found.values() if not t.is_meta]
    devices = sorted({t.device.index or 0 for t in found.values() if t.is_cuda})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            for module in modules:
                module.restore()
            with torch.no_grad():
                for tensor in tensors:
                    tensor.restore()


def random_state(device: torch.device) -> torch.Tensor:
    """The state of the generator that ops on ``device`` draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _same_entries(table: dict[str, Any], entries: dict[str, Any]) -> bool:
    return len(table) == len(entries) and all(
        a is b and k == n for (k, a), (n, b) in zip(table.items(), entries.items(), strict=True)
    )
