"""Rounds over Flower's messages: the strategy of a server, the app of a client, and Flower's own mods between them."""

# ruff: noqa: E402 - what needs Flower stands behind the line that skips these tests without it

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs Flower: pip install 'flwr>=1.42'; its arithmetic is tested in test_rounds.py")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

from flower_nodes import Nodes, node
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp.mod import LocalDpMod, fixedclipping_mod
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping
from rounds import assert_same, pictures, plan_of_rounds, weights
from sparsebp.federated import Client, GlobalNetwork
from sparsebp.federated.flower import SparseFedAvg
from sparsebp.federated.flower.streaming import StreamingGrid


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan_of_rounds(tmp_path_factory.mktemp("flower") / "plan.safetensors")


@pytest.fixture
def nodes(plan: Path, tmp_path: Path) -> Nodes:
    return Nodes({number: node(tmp_path, number, plan) for number in (1, 2, 3)})


def strategy(plan: Path, tmp_path: Path, **more: Any) -> SparseFedAvg:
    return SparseFedAvg(plan, tmp_path / "global", ask_for=0.1, **more)


def by_hand(plan: Path, tmp_path: Path, rounds: int, of: tuple[int, ...] = (1, 2, 3)) -> GlobalNetwork:
    """The same rounds without Flower."""
    network = GlobalNetwork(plan, tmp_path / "by hand")
    clients = {number: Client(tmp_path / f"client {number}", plan) for number in of}
    for _ in range(rounds):
        turn = network.begin()
        for number, client in clients.items():
            assert client.catch_up(network.catch_up(client.version))
            reply = client.train(turn, pictures(6 + number, number), seed=number)
            network.add(reply.values, reply.examples)
        network.merge()
    return network


def test_rounds_over_flower_give_the_bits_of_rounds_without_it(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    made = strategy(plan, tmp_path, test=pictures(10, 99))
    result = made.start(nodes, num_rounds=3, timeout=1)
    expected = by_hand(plan, tmp_path, 3)
    assert_same(weights(made.network.session, tmp_path / "x"), weights(expected.session, tmp_path / "y"))
    assert made.network.version == expected.version
    assert [r.replies for r in made.network.file.rounds] == [3, 3, 3]
    assert set(result.evaluate_metrics_serverapp) == {0, 1, 2, 3}
    assert result.train_metrics_clientapp[3]["num-examples"] == 7 + 8 + 9


def test_a_message_has_the_rows_that_its_client_lacks_and_no_others(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    made = strategy(plan, tmp_path)
    made.start(nodes, num_rounds=2, timeout=1)
    trained = [message for message in nodes.sent if message.metadata.message_type == MessageType.TRAIN]
    sizes = [len(message.content["config"]["numbers"]) for message in trained]
    row = made.network.session.get_trainable().nbytes
    assert sizes == [0, 0, 0, row, row, row]
    assert all(len(message.content["arrays"]) == 0 for message in trained)
    assert [(r.bytes_down, r.bytes_up) for r in made.network.file.rounds] == [(0, 3 * row), (3 * row, 3 * row)]


def test_a_client_without_the_plan_is_sent_the_file(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    nodes.apps[2] = node(tmp_path, 2, None)
    made = strategy(plan, tmp_path)
    begin = made.network.out.stat().st_size
    made.start(nodes, num_rounds=1, timeout=1)
    assert made.network.file.rounds[0].bytes_down == begin
    expected = by_hand(plan, tmp_path, 1)
    assert_same(weights(made.network.session, tmp_path / "x"), weights(expected.session, tmp_path / "y"))


def test_errors_and_lost_replies_do_not_hold_a_round_up(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    made = strategy(plan, tmp_path)
    trains = lambda message: message.metadata.message_type == MessageType.TRAIN  # noqa: E731
    nodes.lost = lambda message: trains(message) and message.metadata.dst_node_id == 2
    nodes.failed = lambda message: trains(message) and message.metadata.dst_node_id == 3
    made.start(nodes, num_rounds=2, timeout=0.1)
    assert [(r.replies, r.failures) for r in made.network.file.rounds] == [(1, 1), (1, 1)]
    expected = by_hand(plan, tmp_path, 2, of=(1,))
    assert_same(weights(made.network.session, tmp_path / "x"), weights(expected.session, tmp_path / "y"))
    nodes.lost = nodes.failed = lambda message: False
    made.start(nodes, num_rounds=1, timeout=1)  # both come back and get the rows of two rounds
    assert made.network.file.rounds[-1].replies == 3
    for number in (2, 3):
        assert Client(tmp_path / f"node {number}").version == made.network.file.rounds[-2].version


def test_replies_that_do_not_fit_are_left_out(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    def without_names(message: Message, context: Any, call_next: Any) -> Message:
        reply = call_next(message, context)
        if message.metadata.message_type == MessageType.TRAIN:
            reply.content["arrays"] = ArrayRecord([array.numpy() for array in reply.content["arrays"].values()])
        return reply

    def diverged(message: Message, context: Any, call_next: Any) -> Message:
        reply = call_next(message, context)
        if message.metadata.message_type == MessageType.TRAIN:
            arrays = {name: Array(array.numpy() * np.nan) for name, array in reply.content["arrays"].items()}
            reply.content["arrays"] = ArrayRecord(arrays)
        return reply

    nodes.apps[2] = node(tmp_path, 2, plan, mods=[without_names])
    nodes.apps[3] = node(tmp_path, 3, plan, mods=[diverged])
    made = strategy(plan, tmp_path)
    made.start(nodes, num_rounds=1, timeout=1)
    assert [(r.replies, r.failures) for r in made.network.file.rounds] == [(1, 2)]
    expected = by_hand(plan, tmp_path, 1, of=(1,))
    assert_same(weights(made.network.session, tmp_path / "x"), weights(expected.session, tmp_path / "y"))


def test_a_node_that_replies_nonsense_does_not_end_the_server(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    """To any question: what it has, what it trained, how it tests."""

    def replies(number: int, nonsense: dict[str, dict[str, Any]]) -> Any:
        app = node(tmp_path, number, plan, test=lambda context, session: pictures(20, number))

        def answer(message: Message, context: Any) -> Message:
            reply, kind = app(message, context), message.metadata.message_type
            if kind == MessageType.QUERY and kind in nonsense:
                reply.content = RecordDict({"config": ConfigRecord(nonsense[kind])} if nonsense[kind] else {})
            elif kind in nonsense:
                metrics = reply.content.metric_records["metrics"]
                reply.content["metrics"] = MetricRecord({**metrics, **nonsense[kind]})
            return reply

        return answer

    query, train, test = MessageType.QUERY, MessageType.TRAIN, MessageType.EVALUATE
    nodes.apps = {
        1: replies(1, {}),
        2: replies(2, {query: {}, train: {"num-examples": 1e300}, test: {"accuracy": float("nan")}}),
        3: replies(3, {query: {"mark": "x", "turn": "y"}, train: {"loss": [1.0]}, test: {"num-examples": [5]}}),
        4: replies(4, {train: {"loss": float("nan")}, test: {"num-examples": float("inf")}}),
    }
    made = strategy(plan, tmp_path, fraction_evaluate=1.0)
    result = made.start(nodes, num_rounds=1, timeout=0.1)
    assert [(r.replies, r.failures) for r in made.network.file.rounds] == [(1, 3)]
    expected = pictures(20, 1).evaluate(made.network.session)
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == expected.correct / 20


def test_messages_are_sent_and_replies_are_taken_a_few_at_a_time() -> None:
    taken = []

    class Counting(Nodes):
        def push_messages(self, messages: Any) -> list[str]:
            found = [*messages]
            assert len(found) <= 4
            taken.append(("sent", len(found)))
            return [str(message.metadata.dst_node_id) for message in found]

        def pull_messages(self, message_ids: Any) -> list[Message]:
            numbers = [*message_ids]
            assert len(numbers) <= 4
            taken.append(("taken", len(numbers)))
            return [self.replies[number] for number in numbers if number != "5" or len(taken) > 7]

    grid = Counting({})
    messages = [Message(RecordDict(), dst_node_id=n, message_type=MessageType.TRAIN) for n in range(1, 11)]
    for message in messages:
        vars(message.metadata)["_message_id"] = str(message.metadata.dst_node_id)
    grid.replies = {m.metadata.message_id: Message(RecordDict(), reply_to=m) for m in messages}
    replies = StreamingGrid(grid, at_once=4, interval=0.01).send_and_receive(messages, timeout=5)
    assert [kind for kind, _ in taken] == ["sent"] * 3
    assert next(iter(replies)).metadata.src_node_id == 1
    assert taken[3:] == [("taken", 4)]
    assert sorted(reply.metadata.src_node_id for reply in replies) == list(range(2, 11))


def test_a_client_that_lost_its_folder_is_asked_again(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    made = strategy(plan, tmp_path)
    made.start(nodes, num_rounds=2, timeout=1)
    for file in (tmp_path / "node 2").iterdir():
        file.unlink()
    made.start(nodes, num_rounds=2, timeout=1)
    assert [r.replies for r in made.network.file.rounds] == [3, 3, 2, 3]


def test_too_few_replies_change_nothing(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    made = strategy(plan, tmp_path, min_replies=4)
    before = made.network.out.read_bytes()
    result = made.start(nodes, num_rounds=2, timeout=1)
    assert made.network.out.read_bytes() == before
    assert result.train_metrics_clientapp == {}


def test_a_server_that_begins_again_asks_its_clients_what_they_have(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    strategy(plan, tmp_path).start(nodes, num_rounds=2, timeout=1)
    again = strategy(plan, tmp_path, resume=True)
    again.start(nodes, num_rounds=1, timeout=1)
    assert [r.turn for r in again.network.file.rounds] == [1, 2, 3]
    row = again.network.session.get_trainable().nbytes
    assert again.network.file.rounds[-1].bytes_down == 3 * row
    expected = by_hand(plan, tmp_path, 3)
    assert_same(weights(again.network.session, tmp_path / "x"), weights(expected.session, tmp_path / "y"))


def test_clients_test_the_merged_network(plan: Path, tmp_path: Path) -> None:
    apps = {n: node(tmp_path, n, plan, test=lambda context, session: pictures(20, 5)) for n in (1, 2)}
    nodes, made = Nodes(apps), strategy(plan, tmp_path, fraction_evaluate=1.0)
    result = made.start(nodes, num_rounds=2, timeout=1)
    expected = pictures(20, 5).evaluate(made.network.session)
    found = result.evaluate_metrics_clientapp[2]
    assert found["accuracy"] == expected.correct / 20
    assert found["loss"] == pytest.approx(expected.loss)
    row = made.network.session.get_trainable().nbytes
    assert [r.bytes_down for r in made.network.file.rounds] == [0, 2 * row]  # it came with the test, and not again


def test_a_share_of_the_nodes_trains_and_which_depends_on_seed_and_turn(plan: Path, tmp_path: Path) -> None:
    def asked(seed: int) -> list[int]:
        place = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        nodes = Nodes({number: node(place, number, plan) for number in range(1, 7)})
        strategy(plan, place, fraction_train=1 / 3, seed=seed).start(nodes, num_rounds=3, timeout=1)
        return [m.metadata.dst_node_id for m in nodes.sent if m.metadata.message_type == MessageType.TRAIN]

    first = asked(0)
    assert len(first) == 6
    assert asked(0) == first != asked(1)


# -- Flower's mods ------------------------------------------------------------------------------------


def test_local_differential_privacy_clips_and_adds_noise(plan: Path, tmp_path: Path) -> None:
    norm = 0.01
    clipping = LocalDpMod(clipping_norm=norm, sensitivity=0.0, epsilon=1.0, delta=0.1)  # noise of deviation 0
    nodes, made = Nodes({1: node(tmp_path, 1, plan, mods=[clipping])}), strategy(plan, tmp_path, min_nodes=1)
    begin = made.network.session
    begin.hold(1)
    before = begin.get_trainable()
    made.start(nodes, num_rounds=1, timeout=1)
    moved = np.linalg.norm(made.network.session.get_trainable().astype(np.float64) - before)
    assert moved == pytest.approx(norm, rel=1e-3)
    noisy = LocalDpMod(clipping_norm=norm, sensitivity=norm, epsilon=1.0, delta=0.1)
    nodes.apps[1] = node(tmp_path, 1, plan, mods=[noisy])
    made.start(nodes, num_rounds=1, timeout=1)
    begin.hold(2)
    assert np.linalg.norm(begin.get_trainable()) > np.linalg.norm(before)


def test_central_differential_privacy_puts_its_noise_into_the_global_network(plan: Path, tmp_path: Path) -> None:
    nodes = Nodes({number: node(tmp_path, number, plan, mods=[fixedclipping_mod]) for number in (1, 2)})
    made = strategy(plan, tmp_path)
    wrapped = DifferentialPrivacyClientSideFixedClipping(
        made, noise_multiplier=0.5, clipping_norm=0.1, num_sampled_clients=2
    )
    result = wrapped.start(nodes, made.arrays(), num_rounds=2, timeout=1)
    row = made.network.session.get_trainable().nbytes
    assert [(r.replies, r.bytes_down) for r in made.network.file.rounds] == [(2, 0), (2, 2 * row)]
    made.adopt(result.arrays)
    assert made.arrays().to_numpy_ndarrays()[0].tobytes() == result.arrays.to_numpy_ndarrays()[0].tobytes()
    assert Client(tmp_path / "node 1").version == made.network.file.rounds[0].version


def test_an_app_can_be_pickled_for_a_simulation(plan: Path, tmp_path: Path) -> None:
    cloudpickle = pytest.importorskip("ray.cloudpickle", reason="needs what flwr[simulation] brings")
    assert cloudpickle.loads(cloudpickle.dumps(node(tmp_path, 1, plan)))


def test_messages_of_another_server_are_refused(plan: Path, nodes: Nodes, tmp_path: Path) -> None:
    content = RecordDict({"arrays": ArrayRecord(), "config": ConfigRecord()})
    (reply,) = nodes.send_and_receive([Message(content, dst_node_id=1, message_type=MessageType.TRAIN)])
    assert "expected one of sparsebp.federated.SparseFedAvg" in reply.error.reason


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fraction_train": 0.0}, "fraction_train: expected a share up to 1, got 0"),
        ({"fraction_evaluate": 1.5}, "fraction_evaluate: expected"),
        ({"min_nodes": 0}, "min_nodes: expected at least 1"),
        ({"min_replies": 0}, "min_replies: expected at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(plan: Path, tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        strategy(plan, tmp_path, **given)
    assert not (tmp_path / "global").exists()
