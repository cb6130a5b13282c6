"""The server: the global plan file after each round, tested on pictures that no client has."""

from __future__ import annotations

from flwr.app import ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from sparsebp.data import open_dataset
from sparsebp.federated import Examples, cosine
from sparsebp.federated.flower import SparseFedAvg
from sparsebp.runtime import Session

from .settings import number, path

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    plan, place = path(context, "plan"), path(context, "folder")
    place.mkdir(parents=True, exist_ok=True)
    out = place / "global.safetensors"
    rounds, tests = int(number(context, "rounds")), int(number(context, "tests"))
    test = open_dataset(path(context, "data")).test
    strategy = SparseFedAvg(
        plan,
        out,
        resume=out.exists(),
        min_nodes=int(number(context, "min-nodes")),
        rate=cosine(rounds),
        test=Examples.of_source(Session(plan), test, range(tests)),
    )
    strategy.start(
        grid,
        num_rounds=max(0, rounds - len(strategy.network.file.rounds)),  # those that are behind stay behind
        timeout=number(context, "timeout"),
        train_config=ConfigRecord({"epochs": int(number(context, "epochs"))}),
    )
    for done in strategy.network.file.rounds:
        print(f"turn {done.turn}: {done.replies} replies, {done.bytes_down:,} bytes down, {done.bytes_up:,} up")
