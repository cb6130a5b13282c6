"""Copies of tensors that lie in a file: what they give back, and where no file can be written."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import pytest
import torch
from sparsebp.capture.copies import Copies

TENSORS = {
    "a weight": torch.randn(64, 32, 3, 3),
    "in the kernels' order": torch.randn(3, 3, 32, 64).permute(3, 2, 0, 1),
    "large": torch.randn(300_001),
    "small": torch.randn(7),
    "half": torch.randn(20_000).half(),
    "numbers that are none": torch.full((5_000,), float("nan")),
    "complex": torch.randn(5_000, dtype=torch.complex64),
    "whole numbers": torch.arange(9_000),
}


@contextlib.contextmanager
def copies() -> Iterator[Copies]:
    with contextlib.closing(Copies()) as made:
        yield made


@pytest.mark.parametrize("kind", TENSORS)
def test_what_was_changed_is_as_it_was_bit_by_bit(kind: str) -> None:
    tensor = TENSORS[kind].clone()
    before = tensor.contiguous().view(-1).clone().numpy().tobytes()
    with copies() as kept:
        restore = kept.keep(tensor)
        tensor.zero_()
        restore()
    assert tensor.contiguous().view(-1).numpy().tobytes() == before


def test_what_was_not_changed_is_not_written() -> None:
    tensor = torch.randn(100_000)
    with copies() as kept:
        restore, version = kept.keep(tensor), tensor._version
        restore()
    assert tensor._version == version


def test_several_copies_do_not_get_mixed_up() -> None:
    tensors = [torch.full((10_000 + 4099 * i,), float(i)) for i in range(5)]
    with copies() as kept:
        undo = [kept.keep(t) for t in tensors]
        for t in tensors:
            t.add_(1)
        for restore in reversed(undo):
            restore()
    assert all(bool((t == i).all()) for i, t in enumerate(tensors))


def test_without_a_folder_for_temporary_files_copies_lie_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    tensor = torch.randn(50_000)
    before = tensor.clone()
    with copies() as kept:
        restore = kept.keep(tensor)
        tensor.zero_()
        restore()
    assert torch.equal(tensor, before)
