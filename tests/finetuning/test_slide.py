"""The augmentation ``slide``: features move like pictures would, as seed, epoch and index say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import finetune
from sparsebp.finetuning.slide import slid

IMAGES, HEIGHT, WIDTH = 200, 17, 8


def coordinates() -> torch.Tensor:
    """[n, H, W, 2]: every pixel knows where it was."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return torch.stack([rows, columns], -1).float().expand(IMAGES, -1, -1, -1)


def test_pictures_move_by_up_to_an_eighth_and_reflect_at_the_edge() -> None:
    moved = slid(coordinates(), 0, 0, range(IMAGES))
    rows, columns = moved[:, 8, 4, 0] - 8, moved[:, 8, 4, 1] - 4  # a pixel in the middle
    assert set(rows.tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert set(columns.tolist()) == {-1.0, 0.0, 1.0}
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == 15
    for image, (down, across) in enumerate(zip(rows.int().tolist(), columns.int().tolist(), strict=True)):
        for y, x in ((0, 0), (HEIGHT - 1, WIDTH - 1), (1, WIDTH - 1), (8, 3)):
            reflected = [abs(y + down), abs(x + across)]
            reflected = [min(at, 2 * (size - 1) - at) for at, size in zip(reflected, (HEIGHT, WIDTH), strict=True)]
            assert moved[image, y, x].tolist() == reflected


def test_what_is_small_stays_and_nothing_is_nothing() -> None:
    x = torch.randn(4, 4, 1, 3)
    assert torch.equal(slid(x[:, :3], 0, 0, range(4)), x[:, :3])
    assert slid(x[:0], 0, 0, []).shape == (0, 4, 1, 3)


def test_it_is_refused_where_nothing_can_move(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"augment: slide: an eighth of .* is no whole step"):
        finetune(tmp_path / "run", ratios={"features.[0-5].*": 0}, augment="slide")
