"""A client: its part of the pictures, and a folder of its own. Needs no torch; sparsebp_runtime has the same names."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from sparsebp.data import open_dataset
from sparsebp.federated import Examples, dirichlet
from sparsebp.federated.flower import client_app
from sparsebp.runtime import Session

from .settings import number, path


def examples(context: Context, session: Session) -> Examples:
    """The client's pictures: those that Flower's partition number stands for."""
    train = open_dataset(path(context, "data")).train
    labels = train.labels[: int(number(context, "pictures"))]
    clients = int(context.node_config["num-partitions"])
    parts = dirichlet(labels, clients, alpha=number(context, "alpha"), seed=int(number(context, "seed")), least=10)
    return Examples.of_source(session, train, parts[int(context.node_config["partition-id"])])


def folder(context: Context) -> Path:
    return path(context, "folder") / f"client-{context.node_config['partition-id']}"


def plan(context: Context) -> Path | None:
    """The plan file, if it is on this machine; otherwise the server sends it."""
    given = path(context, "plan")
    return given if given.exists() else None


app = client_app(examples, folder, plan=plan, keep_features=True)
