"""Federated rounds: many machines train one plan on their own pictures, and exchange only the rows of one set a round.

Update sets are functions of seed, layer and turn. So clients that have the same plan file train the same rows in a
round without telling each other which. Nothing here needs torch; what speaks to Flower needs ``flwr``, which ``pip
install 'sparsebp[federated]'`` installs.
"""

from __future__ import annotations

from .catching_up import CatchUp, Version
from .client import Client, Trained
from .examples import Examples
from .global_network import GlobalNetwork
from .mean import Mean
from .partition import dirichlet
from .rates import cosine

__all__ = ["CatchUp", "Client", "Examples", "GlobalNetwork", "Mean", "Trained", "Version", "cosine", "dirichlet"]
