"""Byte counts as people write them, and what is said of those that make no sense."""

from __future__ import annotations

from typing import Any

import pytest
import sparsebp
from networks import tiny_mobilenet
from sparsebp.nn import SparseConv2d
from sparsebp.units import format_bytes, parse_bytes
from torch import nn
from training import SIZE, assert_same, everything, one_thread  # noqa: F401


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("256KB", 262_144),
        ("256KiB", 262_144),
        (262_144, 262_144),
        ("262144B", 262_144),
        ("1.5MB", 1_572_864),
        ("1.5MiB", 1_572_864),
        ("0.5kb", 512),
        (" 2 GB ", 2 << 30),
        ("1", None),
        (1, 1),
    ],
)
def test_bytes_as_people_write_them(text: int | str, count: int | None) -> None:
    if count is None:
        with pytest.raises(ValueError, match="such as '256KB'"):
            parse_bytes(text)
    else:
        assert parse_bytes(text) == count


MALFORMED_BYTES: list[tuple[Any, type[Exception]]] = [
    (0, ValueError),
    (-1, ValueError),
    (2**63, ValueError),
    (2**64 - 1, ValueError),
    (10**30, ValueError),
    ("", ValueError),
    ("256", ValueError),
    ("KB", ValueError),
    ("256XB", ValueError),
    ("256K B", ValueError),
    ("-3KB", ValueError),
    ("1e3KB", ValueError),
    ("1,5MB", ValueError),
    ("1.MB", ValueError),
    ("nanKB", ValueError),
    ("infGB", ValueError),
    ("0KB", ValueError),
    ("0.3B", ValueError),
    ("1.0001KB", ValueError),
    ("\u0661KB", ValueError),  # an Arabic digit
    ("9" * 400 + "GB", ValueError),
    ("99999999999999GB", ValueError),
    (1.5, TypeError),
    (262144.0, TypeError),
    (True, TypeError),
    (None, TypeError),
    (b"256KB", TypeError),
    ([256], TypeError),
]


@pytest.mark.parametrize(("budget", "error"), MALFORMED_BYTES, ids=lambda v: repr(v)[:20])
def test_malformed_bytes_say_what_was_expected(budget: Any, error: type[Exception]) -> None:
    net = tiny_mobilenet()
    before = everything(net)
    for call in (
        lambda: sparsebp.convert(net, budget, input_size=SIZE),
        lambda: sparsebp.plan(net, budget, input_size=SIZE),
    ):
        with pytest.raises(error, match=r"budget: expected whole bytes as a positive int or a string such as '256KB'"):
            call()
    if budget is not None:  # there it means what the shape needs
        with pytest.raises(error, match="budget: expected whole bytes"):
            SparseConv2d(nn.Conv2d(3, 3, 3), 1.0, budget)
    assert_same(everything(net), before)


@pytest.mark.parametrize("budget", [2**62, "8000000GB"])
def test_a_budget_that_no_machine_has_is_a_memory_error(budget: int | str) -> None:
    net = tiny_mobilenet()
    before = everything(net)
    with pytest.raises(MemoryError, match="the system cannot give") as caught:
        sparsebp.convert(net, budget, input_size=SIZE)
    assert not isinstance(caught.value, sparsebp.BudgetExceeded)
    assert_same(everything(net), before)


def test_bytes_are_printed_with_the_unit_that_fits() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 262_144, 3 << 20, 5 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KB",
        "256.0 KB",
        "3.0 MB",
        "5120.0 GB",
    ]
