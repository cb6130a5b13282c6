"""Copies of tensors, to be compared and written back later, that take no memory."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable

import torch

#: Bytes from which a tensor's copy lies in a file; what is smaller would gain nothing.
_LARGE = 1 << 14
_BLOCK = 1 << 16
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Restore = Callable[[], object]


class Copies:
    """Keeps what tensors are: large ones of the processor in a temporary file, which is gone when this is closed.

    A model's weights are its largest part, and a process that shall stay small cannot hold them twice. Where no
    temporary file can be written they are copied in memory after all.
    """

    def __init__(self) -> None:
        try:
            self._file: io.FileIO | None = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError:
            self._file = None

    def close(self) -> None:
        """Gives the file back; nothing can be restored afterwards."""
        if self._file is not None:
            self._file.close()

    def keep(self, memory: torch.Tensor) -> Restore:
        """Copies a detached tensor; what it returns writes the numbers back, if a bit of them has changed."""
        plain = memory.device.type == "cpu" and memory.layout == torch.strided and not memory.is_quantized
        if self._file is not None and plain and memory.nbytes >= _LARGE and memory.is_contiguous():
            try:
                return _in_file(memory, self._file)
            except OSError:  # a full disk
                pass
        numbers = memory.clone()
        return lambda: None if _same_bits(memory, numbers) else memory.copy_(numbers)


def _in_file(memory: torch.Tensor, file: io.FileIO) -> Restore:
    numbers = memory.view(-1).view(torch.uint8)
    bytes_of_it = numbers.numpy()
    begin = file.seek(0, os.SEEK_END)
    for first in range(0, len(numbers), _BLOCK):
        block = bytes_of_it[first : first + _BLOCK].tobytes()
        if file.write(block) != len(block):
            raise OSError("the disk is full")

    def restore() -> None:
        file.seek(begin)
        for first in range(0, len(numbers), _BLOCK):
            block = bytes_of_it[first : first + _BLOCK]
            kept = file.read(len(block))
            if block.tobytes() != kept:  # writing all the same would tell autograd of a change
                numbers[first : first + _BLOCK].copy_(torch.frombuffer(bytearray(kept), dtype=torch.uint8))

    return restore


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.layout != torch.strided or a.is_complex() or a.is_quantized:
        return torch.equal(a, b)
    bits = _INTEGERS[a.element_size()]
    return torch.equal(a.view(bits), b.view(bits))
