"""The names of the classes in a plan file with spare outputs: rows of bytes, so that naming another moves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

TENSOR = "sparsebp.classes"
"""[outputs, 64] bytes: of each class its name, UTF-8 padded with zeros; zeros alone where an output is spare."""
ROW = 64


def name_rows(classes: Sequence[str], outputs: int) -> torch.Tensor:
    """The rows of these classes, and of spare outputs behind them.

    Raises:
        ValueError: a name is empty, too long, there twice, or holds a zero.
    """
    rows = torch.zeros(outputs, ROW, dtype=torch.uint8)
    for i, name in enumerate(classes):
        text = name.encode()
        if not 0 < len(text) < ROW or 0 in text or name in classes[:i]:
            raise ValueError(
                f"classes: with spare_classes expected different names of 1 to {ROW - 1} bytes without zeros, got "
                f"{name!r}"
            )
        rows[i, : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return rows


def names_of(tensors: Mapping[str, torch.Tensor]) -> list[str] | None:
    """The names of the classes in the tensors of a plan file; None if it has no spare outputs.

    Raises:
        ValueError: they are damaged.
    """
    rows = tensors.get(TENSOR)
    if rows is None:
        return None
    if rows.dtype != torch.uint8 or rows.dim() != 2 or rows.shape[1] != ROW:
        raise ValueError(f"{TENSOR}: expected uint8 [outputs, {ROW}], got {rows.dtype} {list(rows.shape)}")
    texts = [bytes(row).rstrip(b"\0") for row in rows.numpy()]
    count = next((i for i, text in enumerate(texts) if not text), len(texts))
    names = [text.decode() for text in texts[:count]]
    ended = all(len(text) < ROW and 0 not in text for text in texts)
    if not names or any(texts[count:]) or len(set(names)) < count or not ended:
        raise ValueError(f"{TENSOR}: expected different names, and behind them rows of zeros alone")
    return names


def without_spare(
    weights: Mapping[str, torch.Tensor], layer: str, outputs: int, classes: int
) -> dict[str, torch.Tensor]:
    """Weights whose classifier has the rows of the classes alone.

    Raises:
        ValueError: ``layer`` is not there, or has another number of rows.
    """
    own = [name for name in (f"{layer}.weight", f"{layer}.bias") if name in weights]
    if not own or any(weights[name].shape[:1].numel() != outputs for name in own):
        raise ValueError(f"{TENSOR}: expected names of the {outputs} outputs of {layer!r}, which are not there")
    return {**weights, **{name: weights[name][:classes].contiguous() for name in own}}
