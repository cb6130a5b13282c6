"""Whether a converted network computes what the original computes."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from ..capture.graph import Graph
from ..capture.precision import exact_float32
from ..capture.preserve import unchanged
from ..capture.probe import all_close, probe, tensors_of, without_zeros
from ..errors import UnsupportedModel
from .sparse_model import SparseModel

#: Largest relative difference between native kernels and torch's, which round in another order. Deep networks come to
#: 1e-5; a layer that was misread comes to more.
_ROUNDING = 1e-3


def verify(model: SparseModel, graph: Graph) -> None:
    """Compares what ``model`` returns with what the original returned when ``graph`` was made, on the same images.

    Raises:
        UnsupportedModel: they differ.
    """
    expected, graph.expected = graph.expected, None
    if expected is None or not all(bool(tensor.isfinite().all()) for tensor in expected):
        return
    original, engine, training = model.original, model.engine, model.training
    x = probe(graph.traces.images, model.plan.input_size, torch.empty(0, dtype=engine.dtype, device=engine.device))
    runs_own_code = graph.native_begin > 0 or graph.tail is not None
    if model.plan.batch_size == 1 and not runs_own_code:  # a second image would only run the same code again
        x, expected = x[:1], [tensor[:1] for tensor in expected]
    with (
        unchanged(original) if runs_own_code else nullcontext(),
        without_zeros(original),
        exact_float32(),
        torch.no_grad(),
    ):
        same = all_close(tensors_of(model.eval()(x)), expected, _ROUNDING)
        model.train(training)
    engine.rebind_if_moved()  # from what was not zero for a moment
    if not same:
        raise UnsupportedModel(
            f"{type(original).__name__}: run natively it computes something else than in torch; please report this "
            "network. Single convolutions train all the same: sparsebp.nn.replace(model, PATTERN)"
        )
