"""Small federated networks and their clients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sparsebp
from networks import tiny_mobilenet
from sparsebp.data import Preprocess
from sparsebp.federated import Client, Examples, GlobalNetwork, Trained
from training import SIZE


def plan_of_rounds(path: Path, sampler: str = "random", lr: float = 0.01, seed: int = 0) -> Path:
    """A plan file of which a fifth of the channels trains at a time, for pictures of 16 x 16."""
    model = sparsebp.convert(tiny_mobilenet(seed), "1MB", input_size=SIZE, ratios={"*": 0.2}, sampler=sampler).train()
    names = [f"class {i}" for i in range(10)]
    sparsebp.export(model, path, classes=names, preprocess=Preprocess(SIZE[1:]), lr=lr, batch_size=4)
    return path


def pictures(count: int, seed: int) -> Examples:
    generator = np.random.default_rng(seed)
    return Examples(generator.integers(0, 256, (count, *SIZE[1:], 3), np.uint8), generator.integers(0, 10, count))


def caught_up(client: Client, network: GlobalNetwork) -> Client:
    assert client.catch_up(network.catch_up(client.version))
    return client


def take_round(network: GlobalNetwork, clients: list[Client], seeds: list[int]) -> list[Trained]:
    """One round, in which client number i has 6 + i pictures."""
    turn, replies = network.begin(), []
    for i, (client, seed) in enumerate(zip(clients, seeds, strict=True)):
        reply = caught_up(client, network).train(turn, pictures(6 + i, seed), seed=seed)
        network.add(reply.values, reply.examples)
        replies.append(reply)
    network.merge()
    return replies


def weights(session: sparsebp.runtime.Session, place: Path) -> dict[str, np.ndarray]:
    """All tensors of a session but its training state."""
    import safetensors.numpy

    session.save(place)
    found = safetensors.numpy.load_file(place)
    return {name: tensor for name, tensor in found.items() if not name.startswith("sparsebp.")}


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if left[name].tobytes() != right[name].tobytes()] == []
