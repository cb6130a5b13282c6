"""A strategy for Flower's servers: clients reply the rows of one set a round, and these are merged into all weights."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from logging import INFO, WARNING, getLogger
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from ...runtime.weighting import checked_weight
from ..catching_up import Version
from ..examples import Examples
from ..global_network import GlobalNetwork
from .records import ARRAYS, BEHIND, CONFIG, EXAMPLES, METRICS, finite, from_arrays, number, to_arrays
from .streaming import StreamingGrid

_log = getLogger("flwr")


class SparseFedAvg(Strategy):
    """FedAvg of the rows of one update set a round, weighted by pictures (McMahan et al. 2017, arXiv 1602.05629).

    Flower's own strategies take what clients reply for the whole network; this one merges it into the global plan file,
    which is on the disk after each round. A round ends with the replies that came in time and fit; a client that missed
    rounds is sent the rows of these, a new one the file. Clients run :func:`client_app`.

    Args:
        plan: the plan file to begin with; its sampler is random, cyclic or static.
        out: the plan file that is written after each round.
        resume: goes on with the rounds of ``out``, if there are any.
        fraction_train: share of the nodes that train in a round.
        fraction_evaluate: share of the nodes that test the merged network; 0 for none.
        min_nodes: how many have to be there before a round begins.
        min_replies: with fewer a round changes nothing, and its turn is trained once more.
        rate: factor of the plan's rates by the number of merged rounds, such as :func:`.cosine`; 1 if not given.
        test: pictures that the server tests the global network with after each round, unless ``start`` is given another
            ``evaluate_fn``.
        seed: of which nodes are chosen.
        ask_for: seconds that a node not seen before has to say which network it has; then it is sent the file.

    Raises:
        PlanFileError, FileExistsError, ValueError: as :class:`.GlobalNetwork`, or an argument is out of range.
    """

    def __init__(
        self,
        plan: str | os.PathLike[str],
        out: str | os.PathLike[str],
        *,
        resume: bool = False,
        fraction_train: float = 1.0,
        fraction_evaluate: float = 0.0,
        min_nodes: int = 2,
        min_replies: int = 1,
        rate: Callable[[int], float] | None = None,
        test: Examples | None = None,
        seed: int = 0,
        ask_for: float = 60.0,
    ) -> None:
        for name, share, least in (("train", fraction_train, 1e-9), ("evaluate", fraction_evaluate, 0.0)):
            if not least <= share <= 1:
                raise ValueError(f"fraction_{name}: expected a share up to 1, got {share}")
        for name, count in (("min_nodes", min_nodes), ("min_replies", min_replies)):
            if not count >= 1:
                raise ValueError(f"{name}: expected at least 1, got {count}")
        self.network = GlobalNetwork(plan, out, resume=resume)
        self._shares = {MessageType.TRAIN: fraction_train, MessageType.EVALUATE: fraction_evaluate}
        self._min_nodes, self._min_replies = min_nodes, min_replies
        self._rate, self._test, self._seed, self._ask_for = rate, test, seed, ask_for
        self._versions: dict[int, Version] = {}  # by node, as far as they are known
        self._shapes = self.network.session.trainable

    # -- what Flower calls ---------------------------------------------------------------------------

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Takes rounds.

        Args:
            grid: Flower's.
            initial_arrays: not needed; the plan file has them.
            num_rounds: how many; with ``resume`` how many more.
            timeout: seconds from which on a round goes on without those that have not replied.
            train_config: for the clients: ``epochs`` over their pictures (1), or a number of ``steps``.
            evaluate_config: for the clients.
            evaluate_fn: what the server tests with, instead of ``test``.
        """
        arrays = self.arrays() if initial_arrays is None else initial_arrays
        test = evaluate_fn or (self._tested if self._test is not None else None)
        wrapped = StreamingGrid(grid)
        result = super().start(wrapped, arrays, num_rounds, timeout, train_config, evaluate_config, test)
        self.adopt(result.arrays)
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Messages with the turn to train, and what each client lacks."""
        self.adopt(arrays)
        network = self.network
        nodes = self._sample(grid, MessageType.TRAIN)
        turn = network.begin()
        rate = 1.0 if self._rate is None else self._rate(len(network.file.rounds))
        _log.log(INFO, "turn %d: %d nodes, rates times %.3g", turn, len(nodes), rate)
        return self._messages(nodes, MessageType.TRAIN, {**config, "turn": turn, "rate": rate})

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Takes replies one by one into the mean, and merges it; a reply that does not fit is left out."""
        begun_with, losses = self.network.version, 0.0
        for reply in replies:
            metrics = self._metrics(reply)
            if metrics is None:
                self.network.fail()
                continue
            try:
                weight, loss = number(metrics, EXAMPLES), finite(metrics, "loss", 0.0)
                values = from_arrays(reply.content.array_records.get(ARRAYS, ArrayRecord()), self._shapes)
            except (ValueError, TypeError) as error:
                self.network.fail()
                self._leave_out(reply, error)
                continue
            try:
                self.network.add(values, weight)
            except ValueError as error:
                self._leave_out(reply, error)
                continue
            self._versions[reply.metadata.src_node_id] = begun_with
            losses += loss * weight
        if self.network.merge(self._min_replies) is None:
            _log.log(WARNING, "too few replies, expected %d: this turn is trained once more", self._min_replies)
            return None, None
        last = self.network.file.rounds[-1]
        return self.arrays(), MetricRecord(
            {
                "loss": losses / last.examples,
                "replies": last.replies,
                "failures": last.failures,
                EXAMPLES: last.examples,
                "bytes-down": last.bytes_down,
                "bytes-up": last.bytes_up,
            }
        )

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Messages with what each client lacks of the network that it is to test."""
        if not self._shares[MessageType.EVALUATE]:
            return []
        self.adopt(arrays)
        return self._messages(self._sample(grid, MessageType.EVALUATE), MessageType.EVALUATE, dict(config))

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Loss and accuracy, weighted by pictures."""
        sums, count = {"loss": 0.0, "accuracy": 0.0}, 0.0
        for reply in replies:
            metrics = self._metrics(reply)
            if metrics is None or not metrics.get(EXAMPLES):
                continue
            try:
                weight = checked_weight(EXAMPLES, number(metrics, EXAMPLES))
                sums = {key: total + finite(metrics, key) * weight for key, total in sums.items()}
            except ValueError as error:
                self._leave_out(reply, error)
                continue
            self._versions[reply.metadata.src_node_id] = self.network.version
            count += weight
        if not count:
            return None
        return MetricRecord({**{key: total / count for key, total in sums.items()}, EXAMPLES: count})

    def summary(self) -> None:
        """Logs what is exchanged, and from where it goes on."""
        session = self.network.session
        row, whole = 4 * len(session.get_trainable()), session.sizes.file_bytes
        _log.log(INFO, "\t├──> %s, after %d rounds", self.network.out, len(self.network.file.rounds))
        _log.log(INFO, "\t└──> %d bytes a client and round each way; the whole file has %d", row, whole)

    # -- for wrappers of this strategy -----------------------------------------------------------------

    def arrays(self) -> ArrayRecord:
        """What the last round has merged, by names: what ``start`` of a wrapper wants to begin with."""
        return to_arrays(self.network.session.get_trainable(), self._shapes)

    def adopt(self, arrays: ArrayRecord | None) -> None:
        """What a wrapper has made of the last round's mean, such as one that adds noise, becomes global.

        Happens by itself when the next round begins; after a wrapper's ``start`` give it the arrays of its result.
        """
        if not arrays or not self.network.file.rounds:
            return
        values = from_arrays(arrays, self._shapes)
        if values.tobytes() != self.network.session.get_trainable().tobytes():
            self.network.replace(values)

    # -- inside --------------------------------------------------------------------------------------

    def _tested(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if self._test is None:
            return None
        self.adopt(arrays if server_round else None)
        found = self._test.evaluate(self.network.session)
        return MetricRecord({"accuracy": found.correct / len(self._test.labels), "loss": found.loss})

    def _sample(self, grid: Grid, kind: str) -> list[int]:
        """Nodes that are there, chosen by seed and turn; those not seen before are asked what they have."""
        while len(there := sorted(grid.get_node_ids())) < self._min_nodes:
            _log.log(INFO, "waiting for nodes: %d of %d", len(there), self._min_nodes)
            time.sleep(1)
        count = max(1, round(self._shares[kind] * len(there)))
        chance = random.Random(f"{self._seed}/{kind}/{self.network.version.turn}")
        nodes = sorted(chance.sample(there, count))
        new = [node for node in nodes if node not in self._versions]
        questions = [
            Message(RecordDict({CONFIG: ConfigRecord()}), dst_node_id=node, message_type=MessageType.QUERY)
            for node in new
        ]
        for reply in grid.send_and_receive(questions, timeout=self._ask_for) if new else ():
            known = {} if reply.has_error() else reply.content.config_records.get(CONFIG, {})
            if "mark" in known:
                try:
                    version = Version(int(number(known, "turn")), str(known["mark"]))
                except ValueError as error:
                    self._leave_out(reply, error)
                    continue
                self._versions[reply.metadata.src_node_id] = version
        return nodes

    def _messages(self, nodes: list[int], kind: str, config: dict[str, Any]) -> Iterable[Message]:
        contents: dict[Version | None, RecordDict] = {}
        messages = []
        for node in nodes:
            version = self._versions.get(node)
            lacking = self.network.catch_up(version)
            if version not in contents:
                record = ConfigRecord({**config, **lacking.to_record()})
                contents[version] = RecordDict({ARRAYS: ArrayRecord(), CONFIG: record})
            messages.append(Message(contents[version], dst_node_id=node, message_type=kind))
        return messages

    def _leave_out(self, reply: Message, why: Exception) -> None:
        _log.log(WARNING, "node %d: its reply is left out: %s", reply.metadata.src_node_id, why)

    def _metrics(self, reply: Message) -> MetricRecord | None:
        """Of a reply with results."""
        node = reply.metadata.src_node_id
        if reply.has_error():
            _log.log(WARNING, "node %d: %s", node, reply.error.reason)
            return None
        found = reply.content.metric_records.get(METRICS)
        if found is None or found.get(BEHIND):
            _log.log(WARNING, "node %d: it has another network; it is asked again", node)
            self._versions.pop(node, None)
            return None
        return found
