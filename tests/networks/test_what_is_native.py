"""Which slim networks run wholly natively, and what is in the way of the others; test_zoo.py asks the same of all."""

from __future__ import annotations

import any_network
import pytest
import zoo
from not_native import NOT_NATIVE, blocking


@pytest.mark.parametrize("name", any_network.NETWORKS)
def test_what_is_in_the_way_of_a_slim_network_is_known(name: str) -> None:
    model, size = any_network.network(name)
    assert blocking(model, size) == NOT_NATIVE.get(f"slim {name}", ())


def test_every_entry_is_of_a_network() -> None:
    names = {*zoo.NETWORKS, *(f"slim {name}" for name in any_network.NETWORKS)}
    assert not NOT_NATIVE.keys() - names
