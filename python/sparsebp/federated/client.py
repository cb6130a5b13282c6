"""A client's side of federated rounds, whoever carries the messages: its copy of the network, and its pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..data.digests import sha256
from ..files import write_atomically
from ..runtime import Session
from ..runtime.divergence import LARGEST_LOSS
from ..runtime.facts import Step
from ..runtime.order import Order
from .catching_up import CatchUp, Version
from .examples import Examples

PLAN, VERSION = "network.safetensors", "version.json"


@dataclass(frozen=True)
class Trained:
    """What a client replies.

    Attributes:
        values: what trains at the turn, after training: float32, as :meth:`.Session.get_trainable`.
        examples: pictures that it was trained on, each counted once.
        loss: the mean over the steps.
        steps: taken.
    """

    values: npt.NDArray[np.float32]
    examples: int
    loss: float
    steps: int


class Client:
    """Holds a copy of the global network in a folder, and trains it on its own pictures.

    The file in the folder is always a global network of some version, with this client's own training state: what it
    has trained goes to the server and comes back as a mean. It may be killed at any moment.

    Args:
        folder: its own; is made if it is not there.
        plan: the plan file that the server began with, if the client has it: then it need not be sent.

    Raises:
        PlanFileError: a plan file is damaged.
    """

    def __init__(self, folder: str | Path, plan: str | Path | None = None) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.session: Session | None = None
        self.version: Version | None = None
        if (self._folder / PLAN).exists() and (self._folder / VERSION).exists():
            self.session = Session(self._folder / PLAN)
            self.version = Version(**json.loads((self._folder / VERSION).read_bytes()))
        elif plan is not None:
            self.session = Session(plan)
            self.version = Version.of_file(plan, self.session.progress.turn)

    def catch_up(self, given: CatchUp) -> bool:
        """Becomes the network of ``given.now``; False if this client has none of those that it builds on.

        Raises:
            PlanFileError, ValueError: what was sent is damaged; the client is as it was.
        """
        if given.file:
            self.session = Session(given.file)
        elif self.session is None or self.version not in given.bases:
            return False
        elif given.turns:
            _set_turns(self.session, given.turns, np.frombuffer(given.numbers, np.float32))
        self.version = given.now
        return True

    def train(self, turn: int, examples: Examples, *, epochs: int = 1, steps: int = 0, seed: int = 0) -> Trained:
        """Trains the update sets of ``turn`` on its pictures; the client's network stays the global one.

        Args:
            turn: the round's.
            examples: its own.
            epochs: passes over them.
            steps: this many instead, if it is not 0, going on in the order where the round before ended.
            seed: of the order of its pictures.

        Raises:
            FloatingPointError: the loss grew beyond bounds or is no number; nothing of the round is kept.
            ValueError: there is nothing to learn from, or no step to take.
        """
        session = self._ready()
        _check_some(examples)
        if steps < 0 or (steps == 0 and epochs < 1):
            raise ValueError(f"epochs: expected at least 1, or a number of steps, got epochs={epochs}, steps={steps}")
        session.hold(turn)
        before = session.get_trainable()
        order = Order(len(examples.labels), session.sizes.batch, seed)
        count = steps or epochs * order.steps
        total, seen = 0.0, set()
        try:
            for step in range(turn * count, (turn + 1) * count):
                rows, _ = order.rows(step)
                loss = examples.train(session, rows).loss
                if not loss < LARGEST_LOSS:
                    raise FloatingPointError(f"the loss is {loss:.3g}")
                total += loss
                seen.update(rows)
        except FloatingPointError as error:
            session.set_trainable(before)
            raise FloatingPointError(
                f"turn {turn}: training diverged, {error}; the round goes on without this client. Take a smaller rate"
            ) from error
        trained = session.get_trainable()
        session.set_trainable(before)
        return Trained(trained, len(seen), total / count, count)

    def evaluate(self, examples: Examples) -> Step:
        """Loss and recognised pictures of the client's network."""
        return examples.evaluate(self._ready())

    def save(self) -> None:
        """Writes network and version to the folder, so that a kill before leaves what was there."""
        session, place = self._ready(), self._folder / VERSION
        assert self.version is not None
        place.unlink(missing_ok=True)  # a network without a version is sent anew
        session.save(self._folder / PLAN)
        write_atomically(place, json.dumps(asdict(self.version)).encode())

    def kept_features(self, examples: Examples) -> Examples:
        """The features of its pictures in place of them, kept in a file of the folder.

        They are made anew for other pictures and by another network. Pixels tell whether they are others if they are an
        array, or have a ``fingerprint()``, as :meth:`.Examples.of_source` has.

        Raises:
            ValueError: there is no picture.
        """
        session, labels = self._ready(), np.asarray(examples.labels)
        _check_some(examples)
        place = self._folder / f"{_name_of(session, examples)}.npy"
        if not place.exists():
            for old in self._folder.glob("features-*.npy"):
                old.unlink()
            made = [session.features(examples.pixels[[i]]) for i in range(len(labels))]
            part = place.with_name(".features.partial")
            with open(part, "wb") as stream:
                np.save(stream, np.concatenate(made))
            part.replace(place)
        return Examples(np.load(place, mmap_mode="r"), labels, features=True)

    def _ready(self) -> Session:
        if self.session is None:
            raise RuntimeError("client: it has no network yet; catch_up brings it")
        return self.session


def _set_turns(session: Session, turns: Sequence[int], numbers: npt.NDArray[np.float32]) -> None:
    """Sets the rows of these turns, and what trains at every turn."""
    drawn, always = session.drawn_numbers, len(session.get_trainable()) - session.drawn_numbers
    expected = drawn * len(turns) + always
    if len(numbers) != expected:
        raise ValueError(
            f"numbers: expected {expected} for {len(turns)} turns, got {len(numbers)}; is it another plan?"
        )
    if not np.isfinite(numbers).all():
        raise ValueError("numbers: expected finite ones")
    rest = numbers[drawn * len(turns) :]
    for place, turn in enumerate(turns):
        session.hold(turn)
        session.set_trainable(np.concatenate([numbers[drawn * place : drawn * (place + 1)], rest]))


def _check_some(examples: Examples) -> None:
    if not len(examples.labels):
        raise ValueError("examples: expected at least one picture, got none")


def _name_of(session: Session, examples: Examples) -> str:
    """A file's name for the features that this network's prefix makes of these pictures."""
    known = sha256(session.metadata.get("plan_digest", "").encode())
    known.update(session.features(examples.pixels[[0]]).tobytes())  # the digest says nothing of weights
    known.update(examples.fingerprint().encode())
    return f"features-{known.hexdigest()[:16]}"
