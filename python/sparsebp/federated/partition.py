"""Dividing one set of pictures among clients as if each had collected its own: for experiments."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def dirichlet(
    labels: npt.ArrayLike, clients: int, *, alpha: float = 0.5, seed: int = 0, least: int = 1
) -> list[npt.NDArray[np.int64]]:
    """Numbers of pictures by client: each class is divided in shares that a Dirichlet distribution draws.

    The smaller ``alpha``, the more a client has of a few classes and nothing of others (Hsu, Qi & Brown 2019,
    arXiv 1909.06335). Every picture belongs to one client. The division is a function of the arguments alone.

    Args:
        labels: the class of each picture, [N].
        clients: how many.
        alpha: above 0.
        seed: of the shares, and of which pictures of a class.
        least: pictures that every client has to have; shares are drawn until they do.

    Raises:
        ValueError: an argument is out of range, or there are too few pictures.
    """
    found = np.asarray(labels)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"labels: expected whole numbers [N], got {found.dtype} {list(found.shape)}")
    if not clients >= 1:
        raise ValueError(f"clients: expected at least 1, got {clients}")
    if not (alpha > 0 and np.isfinite(alpha)):
        raise ValueError(f"alpha: expected a finite number above 0, got {alpha}")
    if len(found) < 2 * least * clients:
        raise ValueError(f"labels: {len(found)} pictures are too few for {clients} clients with {least} each")
    chance = np.random.default_rng(seed)
    for _ in range(_TRIES):
        parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(clients)]
        for label in np.unique(found):
            own = chance.permutation(np.flatnonzero(found == label))
            shares = chance.dirichlet(np.full(clients, alpha))
            cuts = np.floor(np.cumsum(shares)[:-1] * len(own) + 0.5).astype(np.int64)
            for part, some in zip(parts, np.split(own, cuts), strict=True):
                part.append(some)
        divided = [np.sort(np.concatenate(part)) for part in parts]
        if min(map(len, divided)) >= least:
            return divided
    raise ValueError(f"alpha: with {alpha} a client always has fewer than {least} pictures; take a larger one")


_TRIES = 1000
