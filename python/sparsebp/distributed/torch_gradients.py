"""Gradients of the parameters that torch trains beside a converted model, such as a head of the user's own."""

from __future__ import annotations

import torch

from ..optim import SGD
from .ranks import Ranks


class TorchGradients:
    """Adds them up over ranks; they lie outside the arena, and so does the copy in which they are sent.

    Args:
        opt: that has the parameters.
        ranks: that add up.
    """

    def __init__(self, opt: SGD, ranks: Ranks) -> None:
        self._opt = opt
        self._ranks = ranks

    @property
    def bytes(self) -> int:
        """What one step sends."""
        return sum((p.numel() + 1) * p.element_size() for p in self._opt.torch_parameters())

    @property
    def there(self) -> bool:
        """Whether a parameter has a gradient."""
        return any(p.grad is not None for p in self._opt.torch_parameters())

    def sum(self, share: float) -> None:
        """Every parameter's gradient becomes the sum over the ranks, each of which counts with its ``share``.

        One that has no gradient anywhere still has none.
        """
        kinds: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
        for parameter in self._opt.torch_parameters():
            kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for parameters in kinds.values():
            self._sum(parameters, share)

    def _sum(self, parameters: list[torch.Tensor], share: float) -> None:
        parts = [torch.zeros_like(p) if p.grad is None else p.grad * share for p in parameters]
        given = parameters[0].new_tensor([float(p.grad is not None) for p in parameters])
        flat = torch.cat([*(part.reshape(-1) for part in parts), given])
        self._ranks.sum(flat)
        *summed, given = flat.split([p.numel() for p in parameters] + [len(parameters)])
        for parameter, gradient, ranks in zip(parameters, summed, given.tolist(), strict=True):
            if ranks:
                parameter.grad = gradient.view_as(parameter).clone()
