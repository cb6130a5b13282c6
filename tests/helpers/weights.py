"""Weights of a small network."""

from __future__ import annotations

import torch
from networks import tiny_mobilenet

State = dict[str, torch.Tensor]


def state(seed: int = 0, classes: int = 10) -> State:
    return {name: t.clone() for name, t in tiny_mobilenet(seed, classes).state_dict().items()}


def assert_equal(got: State, expected: State) -> None:
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert torch.equal(got[name], value), name
