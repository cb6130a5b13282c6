"""What stands in ``.grad`` of a natively trained parameter: nothing that could be used by mistake.

torch's own ``clip_grad_norm_`` and optimizers skip parameters whose ``.grad`` is None. On a converted model
they would do nothing and say nothing, so after a backward pass ``.grad`` holds a tensor without memory
that answers every operation with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_MESSAGE = (
    "the gradient of this parameter does not exist as a tensor: its native program updates the weight during "
    "the backward pass, or sums gradients inside the arena. Train it with sparsebp.optim.SGD, and clip with its "
    'clip_grad_norm_ under a plan that holds gradient sums: convert(..., gradients="sum")'
)


class NoGradient(torch.Tensor):
    """A tensor of a parameter's shape and dtype without memory; using it raises RuntimeError."""

    @staticmethod
    def __new__(cls, parameter: torch.Tensor) -> NoGradient:
        return torch.Tensor._make_wrapper_subclass(cls, parameter.shape, dtype=parameter.dtype, device=parameter.device)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # Reading shape, dtype and the like is harmless, and autograd does it when .grad is set.
        if getattr(func, "__name__", "") == "__get__":
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        raise RuntimeError(_MESSAGE)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        raise RuntimeError(_MESSAGE)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"NoGradient(shape={list(self.shape)})"


def mark_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Makes torch's own clipping and optimizers fail on native parameters instead of skipping them."""
    if parameters and parameters[0].grad is not None and parameters[-1].grad is not None:
        return  # whoever clears gradients clears all of them
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = NoGradient(parameter)
