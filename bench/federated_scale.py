"""What a server of federated rounds takes, from ten clients to ten thousand.

python bench/federated_scale.py [--clients 10 100 1000 10000] [--flower]

Replies are made up, one after the other, and go into the code that merges real ones: MobileNetV2 in 256 KB, 2 % of the
convolution weights. With --flower they are Flower's messages and go through the strategy; a reply's time includes its
share of merging then. Each number of clients has a process of its own. Traffic is that of weights, without what a
protocol adds; the network's time is arithmetic. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sparsebp.federated import GlobalNetwork
from sparsebp.units import format_bytes

HEAD = (
    "| clients | server: whole process | more than before the first reply | a reply, ms | merge and save, s "
    "| to and from all clients | with whole networks | at 1 Gbit/s, s |\n" + "|---" * 8 + "|"
)
GIGABIT = 125e6  # bytes a second


@dataclass
class Measured:
    """A round: bytes of the process before and after its replies, seconds, and what travelled."""

    clients: int
    before: int = 0
    after: int = 0
    replies: float = 0.0
    merging: float = 0.0
    traffic: int = 0
    whole: int = 0


def make_plan(file: Path) -> None:
    import sparsebp

    net = sparsebp.models.mobilenet_v2(10)
    model = sparsebp.convert(net, "256KB", input_size=(3, 97, 97), max_update_ratio=0.02, normalise=True)
    sparsebp.export(model, file, lr=0.0003)


def replies(base: np.ndarray, clients: int) -> Iterator[tuple[np.ndarray, int]]:
    """What clients would have trained, each something else, and of how many pictures."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal(len(base)).astype(np.float32) * np.float32(1e-3)
    for _ in range(clients):
        yield base + np.roll(noise, int(generator.integers(len(base)))), int(generator.integers(100, 2000))


def peak() -> int:
    """The most that this process has had in memory; rusage would count its parent's."""
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def by_hand(plan: Path, out: Path, clients: int) -> Measured:
    """The second of two rounds: in the first nothing comes down."""
    network, found = GlobalNetwork(plan, out), Measured(clients)
    for _ in range(2):
        had = network.file.rounds[-2].version if len(network.file.rounds) > 1 else network.file.first
        network.begin()
        for _ in range(clients):  # all of which took part in the round before
            network.catch_up(had)
        found = Measured(clients, peak())
        for values, pictures in replies(network.session.get_trainable(), clients):
            begin = time.perf_counter()
            network.add(values, pictures)
            found.replies += time.perf_counter() - begin
        begin = time.perf_counter()
        network.merge()
        found.merging = time.perf_counter() - begin
    return finished(found, network, plan)


def by_flower(plan: Path, out: Path, clients: int) -> Measured:
    """The same through the strategy, whose clients are a list of numbers."""
    from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
    from flwr.supercore.task_identity import TaskIdentity
    from sparsebp.federated.flower import SparseFedAvg
    from sparsebp.federated.flower.records import ARRAYS, BEHIND, CONFIG, EXAMPLES, METRICS, to_arrays

    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
    strategy, found = SparseFedAvg(plan, out), Measured(clients)
    network, first = strategy.network, strategy.network.version

    class Nodes:
        def get_node_ids(self) -> range:
            return range(2, clients + 2)

        def send_and_receive(self, messages: list[Message], timeout: float) -> Iterator[Message]:
            known = ConfigRecord({"turn": first.turn, "mark": first.mark})
            return (Message(RecordDict({CONFIG: known}), reply_to=message) for message in messages)

    def answers(messages: list[Message]) -> Iterator[Message]:
        made = replies(network.session.get_trainable(), clients)
        for message, (values, pictures) in zip(messages, made, strict=True):
            begin = time.perf_counter()
            metrics = MetricRecord({EXAMPLES: pictures, "loss": 1.0, BEHIND: 0})
            content = RecordDict({ARRAYS: to_arrays(values, network.session.trainable), METRICS: metrics})
            reply = Message(content, reply_to=message)
            found.replies -= time.perf_counter() - begin  # the clients' share
            yield reply

    for round_ in (1, 2):
        messages = list(strategy.configure_train(round_, strategy.arrays(), ConfigRecord(), Nodes()))
        for message in messages:
            vars(message.metadata)["_message_id"] = str(message.metadata.dst_node_id)
        found = Measured(clients, peak())
        begin = time.perf_counter()
        strategy.aggregate_train(round_, answers(messages))
        found.replies += time.perf_counter() - begin
    return finished(found, network, plan)


def finished(found: Measured, network: GlobalNetwork, plan: Path) -> Measured:
    last = network.file.rounds[-1]
    found.after, found.traffic = peak(), last.bytes_down + last.bytes_up
    found.whole = 2 * found.clients * plan.stat().st_size
    return found


def line(found: Measured) -> str:
    cells = [
        f"{found.clients:,}",
        format_bytes(found.after),
        format_bytes(found.after - found.before),
        f"{1000 * found.replies / found.clients:.2f}",
        f"{found.merging:.2f}" if found.merging else "-",
        format_bytes(found.traffic),
        format_bytes(found.whole),
        f"{found.traffic / GIGABIT:,.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [10, 100, 1000, 10_000]
    parser.add_argument("--clients", type=int, nargs="+", default=default, help="(default: 10 100 1000 10000)")
    parser.add_argument("--flower", action="store_true", help="as Flower's messages")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    given = parser.parse_args()
    if given.plan:
        measure = by_flower if given.flower else by_hand
        with tempfile.TemporaryDirectory() as place:
            print(json.dumps(asdict(measure(given.plan, Path(place) / "global", given.clients[0]))))
        return
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as place:
        plan = Path(place) / "plan.safetensors"
        make_plan(plan)
        for clients in given.clients:
            more = ["--flower"] if given.flower else []
            command = [sys.executable, __file__, "--plan", str(plan), "--clients", str(clients), *more]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
            print(line(Measured(**json.loads(done.stdout.splitlines()[-1]))), flush=True)


if __name__ == "__main__":
    main()
