"""The augmentation ``erase``: a rectangle of every second picture's features is their mean."""

from __future__ import annotations

import torch
from sparsebp.finetuning.erase import erased

IMAGES, HEIGHT, WIDTH = 400, 17, 10
TALL, WIDE = 7, 4  # two fifths


def test_every_second_picture_loses_a_rectangle_to_its_mean() -> None:
    x = torch.randn(IMAGES, HEIGHT, WIDTH, 3)
    out = erased(x, 0, 0, range(IMAGES))
    changed = (out != x).any(-1)
    assert IMAGES * 0.4 < changed.any((1, 2)).sum() < IMAGES * 0.6
    rows, columns = changed.any(2).sum(1), changed.any(1).sum(1)
    assert (rows.max(), columns.max()) == (TALL, WIDE)
    assert torch.equal(changed.sum((1, 2)), rows * columns), "it is no rectangle"
    assert rows[rows > 0].min() < TALL, "none reaches over an edge"
    assert changed.any(0).all(), "a place is never blanked"
    for before, after, where in zip(x, out, changed, strict=True):
        assert torch.equal(after[where], before.mean((0, 1)).expand(int(where.sum()), 3))


def test_what_came_in_stays_as_it_was_and_nothing_is_nothing() -> None:
    x = torch.randn(8, 4, 1, 3)
    before = x.clone()
    erased(x, 0, 0, range(8))
    assert torch.equal(x, before)
    assert erased(x[:0], 0, 0, []).shape == (0, 4, 1, 3)
