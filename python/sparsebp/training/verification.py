"""Whether a converted network computes what the original computes."""

from __future__ import annotations

import torch

from ..capture.preserve import random_state, unchanged
from ..capture.tracing import close, probe
from ..errors import UnsupportedModel
from .sparse_model import SparseModel

#: Largest relative difference between native kernels and torch's, which round in another order. Deep networks come to
#: 1e-5; a layer that was misread comes to more.
_ROUNDING = 1e-3


def verify(model: SparseModel) -> None:
    """Compares both on random images, in evaluation mode.

    Raises:
        UnsupportedModel: they differ.
    """
    original, engine = model.original, model.engine
    x = probe(2, model.plan.input_size, torch.empty(0, dtype=engine.dtype, device=engine.device))
    training = model.training
    with unchanged(original), torch.no_grad():
        original.eval()
        before = random_state(x.device)
        expected = original(x.clone())
        if not torch.equal(random_state(x.device), before):
            return  # no two passes are equal
        got = model.eval()(x)
        same = not expected.isfinite().all() or close(got, expected, _ROUNDING)
        model.train(training)
    if not same:
        raise UnsupportedModel(
            f"{type(original).__name__}: run natively it computes something else than in torch; please report this "
            "network. Single convolutions train all the same: sparsebp.nn.replace(model, PATTERN)"
        )
