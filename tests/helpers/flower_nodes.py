"""Flower's messages without its processes: a grid whose nodes are called in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from rounds import pictures
from sparsebp.federated.flower import client_app


class Nodes(Grid):
    """Nodes with an app each; ``lost`` says which of their messages get no reply, ``failed`` which an error."""

    def __init__(self, apps: dict[int, ClientApp]) -> None:
        self.apps = apps
        self.lost: Callable[[Message], bool] = lambda message: False
        self.failed: Callable[[Message], bool] = lambda message: False
        self.sent: list[Message] = []
        self._replies: dict[str, Message] = {}
        TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1  # who makes messages

    def set_run(self, run: Any) -> None: ...

    @property
    def run(self) -> Any: ...

    def create_message(self, *given: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return self.apps

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        number, node = f"{len(self.sent)}", message.metadata.dst_node_id
        self.sent.append(message)
        copy = Message(RecordDict(dict(message.content)), dst_node_id=node, message_type=message.metadata.message_type)
        vars(copy.metadata)["_message_id"] = number
        if self.lost(message):
            return number
        if self.failed(message):
            reply = Message(Error(code=0, reason="the app has crashed"), reply_to=copy)
        else:
            context = Context(run_id=1, node_id=node, node_config={}, state=RecordDict(), run_config={})
            try:
                reply = self.apps[node](copy, context)
            except Exception as error:
                reply = Message(Error(code=0, reason=str(error)), reply_to=copy)
        self._replies[number] = reply
        return number

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(number) for number in message_ids if number in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))


def node(place: Path, number: int, plan: Path | None, **more: Any) -> ClientApp:
    """The app of node ``number``, whose pictures are those of seed ``number``."""
    return client_app(
        lambda context, session: pictures(6 + number, number),
        lambda context: place / f"node {number}",
        plan=lambda context: plan,
        **more,
    )
