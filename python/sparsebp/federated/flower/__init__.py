"""Federated rounds over Flower: a strategy for its servers, and the app of a client.

Needs ``flwr``: ``pip install 'sparsebp[federated]'``, or ``'sparsebp-runtime[federated]'`` on machines without torch.
"""

from __future__ import annotations

try:
    import flwr.app
    import flwr.clientapp
    import flwr.serverapp.strategy  # noqa: F401 - asked for here, so that one message says what is missing
except ImportError as error:
    raise ImportError(
        f"sparsebp.federated.flower needs Flower 1.42 or newer ({error}): pip install 'sparsebp[federated]', or "
        "'sparsebp-runtime[federated]' where there is no torch",
        name=error.name,
    ) from error

from .client_app import client_app
from .strategy import SparseFedAvg

__all__ = ["SparseFedAvg", "client_app"]
