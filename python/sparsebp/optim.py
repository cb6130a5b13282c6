"""SGD whose update happens inside the native backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from .training.eager_optimizer import EagerOptimizer
from .training.loss_scaling import MESSAGE as SCALED
from .training.no_gradient import NoGradient
from .training.optimizer_groups import NO_SQUARES, check_group, check_numbers, no_momentum, owner_of
from .training.plain_sgd import update
from .training.protocol import Exchange, Trainable
from .training.sparse_model import SparseModel

__all__ = ["SGD"]


class SGD(EagerOptimizer):
    """Stochastic gradient descent for converted models.

    ``loss.backward(); opt.step(); opt.zero_grad()`` is the whole protocol. Without gradient sums the
    weights change during ``backward``, with the learning rate that the parameter's group holds then;
    ``step`` makes the next update set due; without a backward pass since the last one it changes nothing. Parameters
    that no native program owns are trained from their ``.grad`` as torch's SGD would. A native parameter that is in no
    group is left alone.

    ``state_dict`` also carries what native programs keep from step to step (update sets, counters, momentum, mean
    squares, sums), so that with the model's it is a checkpoint: loaded into a model that was converted in the same way,
    and its optimizer, training goes on to the bit.

    Losses must not be scaled for mixed precision: the update would be as many times too large. With a
    ``torch.amp.GradScaler`` the first backward pass raises (where no gradient of the output is above a 1024th of its
    factor, the step after it); a factor of one's own cannot be told from a steep loss.

    With ``normalise`` a parameter's learning rate is divided by the root of the running mean square of its
    gradient, one number for the whole tensor (layer-wise second moments, as in NovoGrad, arXiv 1905.11286,
    without its momentum), so that ``lr`` is the root mean square of the elements' steps whatever the layer.
    The first 16 passes that update in place only measure. Weight decay then acts apart from the gradient:
    weights shrink by ``lr * weight_decay``.

    Args:
        params: a converted model, or parameters or groups as in torch.
        lr: learning rate.
        momentum: needs a model converted with ``momentum=True``; it restarts for redrawn channels.
        weight_decay: L2 penalty, on the selected weights only.
        normalise: needs a model converted with ``normalise=True``.

    Attributes:
        exchange: what adds gradients to those of other processes before they are applied
            (:class:`sparsebp.distributed.DataParallel`); None for a process alone. Copies have none.

    Raises:
        TypeError: a number is none.
        ValueError: a number is negative or not finite, or momentum or mean squares were not reserved.
    """

    exchange: Exchange | None = None

    def __init__(
        self,
        params: SparseModel | Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        normalise: bool = False,
    ) -> None:
        if isinstance(params, nn.Module):
            params = params.trained_parameters() if isinstance(params, SparseModel) else params.parameters()
        self._engines: list[Trainable] = []
        self._slots: list[dict[tuple[int, int], int]] = []
        self._complete = False
        self._others: tuple[int, list[tuple[torch.Tensor, dict[str, Any]]]] | None = None
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "normalise": normalise})
        self._adopt(range(len(self.param_groups)))
        self._complete = True

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; native parameters are handed to their program."""
        check_numbers({**self.defaults, **param_group})
        before = len(self.param_groups)
        super().add_param_group(param_group)
        if self._complete:
            try:
                self._adopt(range(before, len(self.param_groups)))
            except Exception:
                del self.param_groups[before]
                raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy finds its programs through its parameters, as a new optimizer does."""
        super().__setstate__(state)
        self._others = None  # its groups may be other objects now
        for group in self.param_groups:  # those of torch.optim.SGD lack some keys
            for key, value in self.defaults.items():
                group.setdefault(key, value)
        if "_engines" not in self.__dict__:
            self._engines, self._slots, self._complete = [], [], True
            self._adopt(range(len(self.param_groups)))

    def _adopt(self, groups: range) -> None:
        """Takes over the programs that train parameters of ``groups``: all of them, or none if one refuses."""
        found = {engine: dict(slots) for engine, slots in zip(self._engines, self._slots, strict=True)}
        for index in groups:
            momentum, normalise = (self.param_groups[index][key] for key in ("momentum", "normalise"))
            for parameter in self.param_groups[index]["params"]:
                owner = owner_of(parameter)
                if owner is None:
                    continue
                engine, slot = owner
                if momentum and not engine.momentum:
                    raise ValueError(no_momentum(momentum))
                if normalise and not engine.normalise:
                    raise ValueError(NO_SQUARES)
                found.setdefault(engine, {})[slot] = index
        for engine, slots in found.items():
            other = engine.optimizer
            if other is not None and other is not self:
                other.forget(engine)
            engine.attach(self, slots)
        self._engines, self._slots = list(found), list(found.values())
        self._others = None

    # -- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """As in torch; what a native program keeps stands with the first of its parameters, under ``"program"``."""
        saved = super().state_dict()
        for place, engine in self._places().items():
            saved["state"][place] = {**saved["state"].get(place, {}), "program": engine.state_dict()}
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch. A state that holds nothing of a native program, such as torch's SGD has, leaves that as it is.

        Raises:
            ValueError: it belongs to another plan, or other parameters; nothing has changed.
        """
        places, programs, state = self._places(), {}, {}
        for place, entry in state_dict["state"].items():
            rest = dict(entry)
            if "program" in rest:
                programs[place] = rest.pop("program")
            if rest:
                state[place] = rest
        for place, program in programs.items():
            if not isinstance(program, Mapping):
                raise ValueError(f"state: parameter {place}: expected what was saved, got {program!r}")
            if place not in places:
                raise ValueError(f"state: parameter {place} was a native program's, and here it is none's")
            places[place].check_state_dict(program)
        groups = [{**self.defaults, **group} for group in state_dict["param_groups"]]
        for engine in self._engines:
            for index in engine.groups:
                if index < len(groups):  # otherwise torch says what is wrong
                    check_group(groups[index], engine)
        super().load_state_dict({**state_dict, "state": state})
        for place, program in programs.items():
            places[place].load_state_dict(program)

    def _places(self) -> dict[int, Trainable]:
        """The programs by the number of their first parameter, as ``state_dict`` counts these."""
        places: dict[Trainable, int] = {}
        for place, parameter in enumerate(p for group in self.param_groups for p in group["params"]):
            owner = owner_of(parameter)
            if owner is not None and owner[0] in self._engines:
                places.setdefault(owner[0], place)
        return {place: engine for engine, place in places.items()}

    def forget(self, engine: Trainable) -> None:
        """The program is no longer this optimizer's: another took it over, or its model was restored."""
        if engine in self._engines:
            at = self._engines.index(engine)
            del self._engines[at], self._slots[at]
            self._others = None

    def check(self, engine: Trainable) -> None:
        """Raises ValueError if a group's numbers cannot be used with this program."""
        for index in engine.groups:
            check_group(self.param_groups[index], engine)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Ends the iteration: gradient sums are applied, samplers and counters advance."""
        if self.__dict__.pop("found_inf", None) is not None:  # so a GradScaler says that it is the caller
            self.__dict__.pop("grad_scale", None)
            raise RuntimeError(f"step: {SCALED}")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.exchange is not None:
            self.exchange.sum_gradients()
        for engine in self._engines:
            engine.finish_step()
        for parameter, group in self._ordinary():
            update(parameter, self.state[parameter], group)
        if self.exchange is not None:
            self.exchange.finished()
        return loss

    @property
    def programs(self) -> tuple[Trainable, ...]:
        """The native programs that it trains."""
        return tuple(self._engines)

    def torch_parameters(self) -> list[torch.Tensor]:
        """The parameters that torch trains, with a gradient of their own."""
        return [p for p, _ in self._not_mine() if p.requires_grad and owner_of(p) is None]

    def _not_mine(self) -> list[tuple[torch.Tensor, dict[str, Any]]]:
        """Parameters that none of this optimizer's programs trains, with their groups; looked up once."""
        count = sum(len(group["params"]) for group in self.param_groups)
        if self._others is None or self._others[0] != count:
            pairs = [(p, group) for group in self.param_groups for p in group["params"]]
            native = set(self._engines)
            others = [(p, group) for p, group in pairs if (owner_of(p) or (None,))[0] not in native]
            self._others = (count, others)
        return self._others[1]

    def _ordinary(self) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
        """Parameters with a gradient that no native program owns, with their groups."""
        for parameter, group in self._not_mine():
            grad = parameter.grad
            if grad is not None and type(grad) is not NoGradient and owner_of(parameter) is None:
                yield parameter, group

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """By this a GradScaler asks whether it may leave gradients as they are; :meth:`step` then refuses it."""
        return bool(self._engines)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets gradients, also those summed in the arena.

        What stands in ``.grad`` of native parameters stays (:mod:`sparsebp.refusal`).
        """
        for parameter, _ in self._not_mine():
            grad = parameter.grad
            if grad is None or type(grad) is NoGradient:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                grad.detach_().zero_()
        for engine in self._engines:
            engine.forget_sums(set_to_none)
        if self.exchange is not None:
            self.exchange.finished()

    @torch.no_grad()
    def clip_grad_norm_(self, max_norm: float) -> float:
        """Scales all gradients so that their common norm is at most ``max_norm``; returns the norm before.

        Raises:
            ValueError: ``max_norm`` is not above 0.
            RuntimeError: the plan applies updates in place, so that there is no gradient to scale.
        """
        if not max_norm > 0:
            raise ValueError(f"max_norm: expected a number above 0, got {max_norm}")
        for engine in self._engines:
            if not engine.sums:
                raise RuntimeError(
                    "clip_grad_norm_: this plan applies the update during the backward pass and holds no gradients; "
                    'convert with gradients="sum" (plan.gradient_sums), or lower the learning rate'
                )
        if self.exchange is not None:
            self.exchange.sum_gradients()
        tensors = [view for engine in self._engines for view in engine.sum_views()]
        tensors += [p.grad for p, _ in self._ordinary() if p.grad is not None]
        if not tensors:
            return 0.0
        norm = float(nn.utils.get_total_norm(tensors))
        if norm > max_norm:
            for t in tensors:
                t.mul_(max_norm / norm)
        return norm
