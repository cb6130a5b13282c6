"""Modules: a drop-in for one ``Conv2d``, and the replacement of many."""

from __future__ import annotations

import zlib
from collections import Counter
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import nn

from . import devices
from .capture.behaviour import runs_as
from .samplers import Sampler, resolve
from .training.autograd import ConvFunction
from .training.sparse_model import SparseModel
from .training.standalone_conv import StandaloneConv
from .training.weight_memory import kernel_layout_
from .units import check_seed, parse_bytes

__all__ = ["SparseConv2d", "SparseModel", "replace"]


class SparseConv2d(nn.Module):
    """Stands in for one ``nn.Conv2d`` inside any autograd graph and trains a share of its input channels.

    A training forward draws ``round(ratio * in_channels)`` channels, anew once those of the last draw have trained;
    only their features are kept, in an arena of this module's own. ``weight.grad`` is dense with zeros outside the
    update set, so every optimizer works; under a :class:`sparsebp.optim.SGD` the update is applied in place and there
    is no ``grad``. The gradient of the input is exact.

    A copy or pickle goes on with the same draws, and so does a :class:`sparsebp.optim.SGD`'s ``state_dict``; those of
    torch's optimizers know nothing of draws.

    Args:
        conv: its parameters are taken over (same keys, reordered memory); zero padding only.
        ratio: share of the input channels, in (0, 1].
        budget: bytes of the arena, or None for what the input's shape needs.
        sampler: a name or a Sampler.
        seed: of the sampler.
        name: what the sampler knows this convolution by.

    Raises:
        TypeError, ValueError: an argument cannot be used; the convolution is as it was.
        BudgetExceeded: at the first training forward pass, where the input's shape is known.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        ratio: float = 0.02,
        budget: int | str | None = None,
        *,
        sampler: str | Sampler = "random",
        seed: int = 0,
        name: str = "conv",
    ) -> None:
        super().__init__()
        if type(conv) is not nn.Conv2d:
            raise TypeError(f"conv: expected a torch.nn.Conv2d, got {type(conv).__name__}")
        if not runs_as(conv, nn.Conv2d):
            raise TypeError(
                "conv: it has hooks, a replaced forward or a parametrisation, which would be lost; remove them"
            )
        if conv.padding_mode != "zeros":
            raise ValueError(f"conv: expected padding_mode='zeros', got {conv.padding_mode!r}")
        if conv.weight.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"conv: expected a float32 or float64 weight, got {conv.weight.dtype}")
        devices.check(conv.weight.device, conv.weight.dtype, "conv: its weight")
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float)):
            raise TypeError(f"ratio: expected a number, got {type(ratio).__name__}")
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio: expected a share above 0 and at most 1, got {ratio}")
        self.ratio = float(ratio)
        self.budget = None if budget is None else parse_bytes(budget)
        self.sampler = resolve(sampler, seed)
        self.name = name
        self.weight = conv.weight
        self.bias = conv.bias
        object.__setattr__(self, "_conv", conv)
        kernel_layout_(self.weight)
        self.selected = min(conv.in_channels, max(1, round(ratio * conv.in_channels)))
        self._runner: StandaloneConv | None = None
        self.runner().own_parameters()

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution whose parameters this module trains."""
        return self._conv  # type: ignore[return-value]

    def runner(self) -> StandaloneConv:
        """The native side; a copy of the module makes its own, which goes on with the same draws."""
        if "weight" not in self._parameters:
            raise RuntimeError(f"{self.name}: its weight is no parameter any more; undo the parametrisation")
        if self._runner is None:
            self._runner = StandaloneConv(self.conv, self.selected, self.budget, self.sampler, name=self.name)
        # load_state_dict(assign=True) and .to() replace parameters of this module, not of the convolution.
        self.conv.weight, self.conv.bias = self.weight, self.bias
        return self._runner

    @property
    def channels(self) -> torch.Tensor:
        """The update set of the last training forward, int64 [selected]."""
        engine = self.runner().last
        if engine is None:
            raise RuntimeError("channels: there was no training forward pass yet")
        return torch.tensor(engine.program.indices(0), dtype=torch.int64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> [N, C', H', W'] as the convolution would."""
        conv = self.conv
        if not isinstance(x, torch.Tensor) or x.layout != torch.strided:
            kind = x.layout if isinstance(x, torch.Tensor) else type(x).__name__
            raise TypeError(f"x: expected a dense tensor [N, {conv.in_channels}, H, W], got {kind}")
        if x.dim() != 4 or x.shape[1] != conv.in_channels:
            raise ValueError(f"x: expected [N, {conv.in_channels}, H, W], got {list(x.shape)}")
        if x.device != self.weight.device:
            raise ValueError(f"x: it is on {x.device}, the weight on {self.weight.device}; expected one device")
        if x.is_floating_point() and x.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(x.device.type):
            x = x.to(self.weight.dtype)  # native convolutions know no lower precision; autograd casts the gradient back
        if x.dtype != self.weight.dtype:
            raise TypeError(f"x: expected {self.weight.dtype} like the weight, got {x.dtype}")
        devices.check(x.device, x.dtype, "x")
        runner = self.runner()
        if not (self.training and torch.is_grad_enabled()):
            return runner.infer(x)
        return ConvFunction.apply(x, self.weight, self.bias, runner)  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_runner": None, "_draws": self.runner().state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        draws = state.pop("_draws", None)  # older pickles have none
        super().__setstate__(state)
        self.runner().own_parameters()
        if draws is not None:
            self.runner().load_state_dict(draws)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.runner().own_parameters()  # with assign=True the parameters are other objects

    def extra_repr(self) -> str:
        c = self.conv
        return f"{c.in_channels}, {c.out_channels}, kernel_size={c.kernel_size}, selected={self.selected}"


def replace(model: nn.Module, pattern: str, ratio: float = 0.02, **options: Any) -> list[str]:
    """Puts a :class:`SparseConv2d` in place of every ``Conv2d`` whose name matches ``pattern``.

    Args:
        model: changed in place; names are those of ``named_modules()``.
        pattern: a glob.
        ratio: share of the input channels of each.
        **options: further arguments of :class:`SparseConv2d`; a sampler that takes its seed from here draws for each
            convolution on its own, and knows it by its name in the model.

    Returns:
        The names of the replaced modules.

    Raises:
        TypeError, ValueError: nothing matches, or an argument cannot be used; the model is unchanged.
    """
    if not isinstance(model, nn.Module) or isinstance(model, SparseModel):
        raise TypeError(f"model: expected a torch.nn.Module that is not converted, got {type(model).__name__}")
    if not isinstance(pattern, str):
        raise TypeError(f"pattern: expected a glob, got {type(pattern).__name__}")
    names = [n for n, m in model.named_modules() if type(m) is nn.Conv2d and n and fnmatchcase(n, pattern)]
    if not names:
        raise ValueError(f"pattern: {pattern!r} matches no torch.nn.Conv2d of the model")
    places = Counter(m for _, m in model.named_modules(remove_duplicate=False))
    for name in names:
        if places[model.get_submodule(name)] > 1:
            raise ValueError(f"pattern: {name} is in the model more than once; tied weights are not replaced")
    seed = check_seed(options.pop("seed", 0))
    made = []
    for name in names:
        conv = cast(nn.Conv2d, model.get_submodule(name))
        own_seed = (seed + zlib.crc32(name.encode())) % 2**64
        made.append((name, SparseConv2d(conv, ratio, seed=own_seed, name=name, **options)))
    for name, module in made:
        module.train(model.get_submodule(name).training)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module)
    return names
