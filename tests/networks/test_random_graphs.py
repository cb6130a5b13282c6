"""Random networks over all kinds of ops beside float64 torch; ``tests/helpers/random_graphs.py`` runs any number."""

from __future__ import annotations

import pytest
from graph_search import outcome, smallest
from random_graphs import random_graph

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

BLOCK = 30
ONCE_WRONG = {
    1372: "float32, and an input of a ReLU within rounding of zero",
    6944: "a nearest pixel by a factor, in float64",
    7456: "the smallest budget was larger than that of wider channel blocks",
    21088: "the same, beside an image that is padded on two sides",
}


@pytest.mark.parametrize("block", range(6))
def test_a_step_of_random_networks_is_that_of_torch(block: int) -> None:
    for seed in range(BLOCK * block, BLOCK * (block + 1)):
        graph = random_graph(seed)
        what = outcome(graph, seed)
        if what != "native":
            pytest.fail(f"seed {seed}: {what}\n{smallest(graph, seed).source()}")


@pytest.mark.parametrize("seed", ONCE_WRONG, ids=ONCE_WRONG.get)
def test_what_was_wrong_once_is_right(seed: int) -> None:
    assert outcome(random_graph(seed), seed) == "native"
