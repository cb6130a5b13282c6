"""When a loss has grown beyond bounds."""

from __future__ import annotations

LARGEST_LOSS = 30.0
"""A running loss that no training comes back from: probabilities of 1e-13."""
