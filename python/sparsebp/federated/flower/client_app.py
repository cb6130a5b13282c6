"""The app of a client: from a folder, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from ...runtime import Session
from ..catching_up import CatchUp
from ..client import Client
from ..examples import Examples
from .records import ARRAYS, BEHIND, CONFIG, EXAMPLES, METRICS, number, to_arrays

Mod = Callable[[Message, Context, Callable[[Message, Context], Message]], Message]

#: The client of the message that is being answered. Only functions of this file name it: Flower's simulation pickles
#: those inside others with all that they name, and it cannot be pickled.
_client: ContextVar[Client] = ContextVar("client")


def client_app(
    examples: Callable[[Context, Session], Examples],
    folder: Callable[[Context], Path],
    *,
    plan: Callable[[Context], Path | None] | None = None,
    test: Callable[[Context, Session], Examples] | None = None,
    keep_features: bool = False,
    mods: Sequence[Mod] = (),
) -> ClientApp:
    """An app that trains what :class:`SparseFedAvg` asks for.

    All that it knows lies in its folder, so it may be killed at any moment, and each message may be answered by another
    process.

    Args:
        examples: what this client learns from, given Flower's context and the session with the plan.
        folder: where it keeps its network; its own, and made if it is not there.
        plan: the plan file that the server began with, if it is on this machine: then it is not sent.
        test: what it tests the global network with, if the strategy asks for that.
        keep_features: keep what the frozen layers make of its pictures in the folder, instead of computing it in every
            round.
        mods: Flower's, such as ``flwr.clientapp.mod.LocalDpMod``, around training. They see what trains as it was
            before and after, with equal names and shapes in all clients.
    """
    app = ClientApp(mods=[_caught_up_first(folder, plan)])

    @app.train(mods=[*mods])
    def train(message: Message, context: Context) -> Message:
        client, config = _current(), message.content.config_records[CONFIG]
        session = _session(client)
        own = examples(context, session)
        session.rate = number(config, "rate", 1.0)
        trained = client.train(
            int(number(config, "turn")),
            client.kept_features(own) if keep_features else own,
            epochs=int(number(config, "epochs", 1)),
            steps=int(number(config, "steps", 0)),
            seed=context.node_id % 2**32,
        )
        client.save()
        metrics = MetricRecord({EXAMPLES: trained.examples, "loss": trained.loss, "steps": trained.steps, BEHIND: 0})
        arrays = to_arrays(trained.values, session.trainable)
        return Message(RecordDict({ARRAYS: arrays, METRICS: metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        client = _current()
        if test is None:
            raise ValueError("test: this client has no pictures to test with; give client_app some")
        client.save()
        own = test(context, _session(client))
        found = client.evaluate(own)
        count = len(own.labels)
        share = found.correct / max(1, count)
        metrics = MetricRecord({EXAMPLES: count, "loss": found.loss, "accuracy": share, BEHIND: 0})
        return Message(RecordDict({METRICS: metrics}), reply_to=message)

    @app.query()
    def version(message: Message, context: Context) -> Message:
        """Which network it has: none, or turn and mark."""
        found = _open(folder, plan, context).version
        known: dict[str, Any] = {} if found is None else {"turn": found.turn, "mark": found.mark}
        return Message(RecordDict({CONFIG: ConfigRecord(known)}), reply_to=message)

    return app


def _caught_up_first(folder: Callable[[Context], Path], plan: Callable[[Context], Path | None] | None) -> Mod:
    """A mod in front of all others: makes the client's network the global one.

    It gives the others what trains as it is before training, which the server need not send, as the client has it then.
    """

    def caught_up(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        if message.metadata.message_type.partition(".")[0] == "query":
            return call_next(message, context)
        client, config = _open(folder, plan, context), message.content.config_records[CONFIG]
        if not client.catch_up(CatchUp.from_record(config)):
            metrics = MetricRecord({EXAMPLES: 0, BEHIND: 1})
            return Message(RecordDict({ARRAYS: ArrayRecord(), METRICS: metrics}), reply_to=message)
        session = _session(client)
        if "turn" in config:
            session.hold(int(number(config, "turn")))
            message.content[ARRAYS] = to_arrays(session.get_trainable(), session.trainable)
        with _answering(client):
            return call_next(message, context)

    return caught_up


def _open(folder: Callable[[Context], Path], plan: Callable[[Context], Path | None] | None, context: Context) -> Client:
    return Client(folder(context), None if plan is None else plan(context))


def _current() -> Client:
    return _client.get()


@contextmanager
def _answering(client: Client) -> Iterator[None]:
    token = _client.set(client)
    try:
        yield
    finally:
        _client.reset(token)


def _session(client: Client) -> Session:
    if client.session is None:
        raise RuntimeError("client: it has no network yet")
    return client.session
