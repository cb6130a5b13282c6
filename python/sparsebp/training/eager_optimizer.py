"""torch's Optimizer without its detour through torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

import torch
from torch.optim import Optimizer

Method = TypeVar("Method", bound=Callable[..., Any])


def _eager(method: Method) -> Method:
    """What torch wrote, without the wrapper that keeps torch.compile out of it.

    At its first call that wrapper imports torch._dynamo, and sympy with it: some 900 modules and 50 MB, for nothing
    where nothing is compiled. Anything else that stands in the method's place stays.
    """
    if isinstance(method, FunctionType) and method.__globals__ is vars(torch._compile):
        return cast(Method, getattr(method, "__wrapped__", method))
    return method


class EagerOptimizer(Optimizer):
    """As torch's, in every respect but what it imports."""

    add_param_group = _eager(Optimizer.add_param_group)
    state_dict = _eager(Optimizer.state_dict)
    load_state_dict = _eager(Optimizer.load_state_dict)
    zero_grad = _eager(Optimizer.zero_grad)
