"""Ways in which several machines train one network on their own pictures, and what travels between them."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from federated_setting import Setting, Shared
from sparsebp.federated import Client, Examples, GlobalNetwork, Mean, cosine
from sparsebp.runtime import Session, make_delta

#: What they are called in tables.
WAYS = {
    "sets": "one set a round: its rows, shifts, classifier",
    "classifier": "the classifier alone",
    "span": "every step draws anew: all rows that were visited",
    "one machine": "one machine with all pictures",
}


@dataclass(frozen=True)
class Now:
    """After a round: the network to be tested, and the bytes that travelled, of all clients together."""

    session: Session
    down: int
    up: int


def rounds(way: str, setting: Setting, shared: Shared) -> Iterator[Now]:
    """Trains round by round."""
    if way == "sets":
        return _by_sets(setting, shared, shared.plan(setting))
    if way == "classifier":
        return _by_the_classifier(setting, shared)
    if way == "span":
        return _by_spans(setting, shared)
    return _alone(setting, shared)


def _by_sets(setting: Setting, shared: Shared, plan: Path) -> Iterator[Now]:
    """The code that Flower's messages call, without Flower."""
    with tempfile.TemporaryDirectory() as place:
        network = GlobalNetwork(plan, Path(place) / "global.safetensors")
        clients = [Client(Path(place) / str(i), plan) for i in range(setting.clients)]
        for round_ in range(setting.rounds):
            turn = network.begin()
            for client, own in zip(clients, shared.parts, strict=True):
                if not client.catch_up(network.catch_up(client.version)) or client.session is None:
                    raise RuntimeError("a client has another network than the server thinks")
                client.session.rate = cosine(setting.rounds)(round_)
                trained = client.train(turn, shared.examples(own), epochs=setting.epochs)
                network.add(trained.values, trained.examples)
            network.merge()
            last = network.file.rounds[-1]
            yield Now(network.session, last.bytes_down, last.bytes_up)


def _by_the_classifier(setting: Setting, shared: Shared) -> Iterator[Now]:
    """The same with a plan whose other rates are zero; of what is exchanged only the classifier counts."""
    plan = shared.plan(setting, classifier_alone=True)
    shapes = Session(plan).trainable
    numbers = {name: math.prod(shape) for name, shape in shapes.items()}
    own = sum(count for name, count in numbers.items() if name.startswith("classifier."))
    for now in _by_sets(setting, shared, plan):
        down, up = (size * own // sum(numbers.values()) for size in (now.down, now.up))
        yield Now(now.session, down, up)


def _by_spans(setting: Setting, shared: Shared) -> Iterator[Now]:
    """Sessions draw at every step; what they have visited is sent as deltas, and all weights are averaged."""
    plan = shared.plan(setting)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "global").write_bytes(plan.read_bytes())
        for i in range(setting.clients):
            (place / str(i)).write_bytes(plan.read_bytes())
        down = 0
        for round_ in range(setting.rounds):
            up, begin = 0, safetensors.numpy.load_file(place / "global")
            names = [name for name, tensor in begin.items() if tensor.dtype == np.float32 and "sparsebp." not in name]
            mean = Mean(sum(begin[name].size for name in names))
            for i, own in enumerate(shared.parts):
                session = Session(place / str(i))
                session.rate = cosine(setting.rounds)(round_)
                _learn(session, shared.examples(own), setting.epochs, round_)
                session.save(place / "trained")
                make_delta(place / "global", place / "trained", place / "delta")
                up += (place / "delta").stat().st_size
                trained = safetensors.numpy.load_file(place / "trained")
                mean.add(np.concatenate([trained[name].ravel() for name in names]), len(own))
                (place / "trained").replace(place / str(i))
            merged = _split(mean.result(), names, begin)
            _patch(place / "global", place / "next", merged)
            yield Now(Session(place / "next"), down, up)
            make_delta(place / "global", place / "next", place / "delta")
            down = setting.clients * (place / "delta").stat().st_size  # at the next round's begin
            (place / "next").replace(place / "global")
            for i in range(setting.clients):  # each keeps its own training state
                _patch(place / str(i), place / str(i), merged)


def _alone(setting: Setting, shared: Shared) -> Iterator[Now]:
    session = Session(shared.plan(setting))
    for round_ in range(setting.rounds):
        session.rate = cosine(setting.rounds)(round_)
        _learn(session, shared.examples(np.concatenate(shared.parts)), setting.epochs, round_)
        yield Now(session, 0, 0)


def _learn(session: Session, examples: Examples, epochs: int, round_: int) -> None:
    """A round without a held set."""
    labels, batch = np.asarray(examples.labels), session.sizes.batch
    for epoch in range(epochs):
        order = np.random.default_rng(round_ * epochs + epoch).permutation(len(labels))
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            session.train_features(examples.pixels[chosen], labels[chosen])


def _split(values: np.ndarray, names: list[str], like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ends = np.cumsum([like[name].size for name in names])[:-1]
    return {name: part.reshape(like[name].shape) for name, part in zip(names, np.split(values, ends), strict=True)}


def _patch(file: Path, out: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes a plan file with other weights; its layout stays."""
    data = bytearray(file.read_bytes())
    for name, (begin, end) in _places(data).items():
        if name in tensors:
            data[begin:end] = tensors[name].tobytes()
    out.write_bytes(data)


def _places(data: bytearray) -> dict[str, tuple[int, int]]:
    """Where each tensor of a safetensors file lies."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + size]))
    return {
        name: (8 + size + entry["data_offsets"][0], 8 + size + entry["data_offsets"][1])
        for name, entry in header.items()
        if name != "__metadata__"
    }
