"""Plain data that trainers leave beside weights, read without making any of it.

``torch.load(weights_only=True)`` makes tensors and a few basic types, and refuses a file that names anything else.
Settings, NumPy numbers, times and paths are let through here: while a file is read, their names stand for classes of
this module, which keep what the file says of an object and do nothing. Every other name is refused still.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
import torch


class Inert:
    """What a pickle said of an object, kept and not acted upon; slots, so that a pickle can hang nothing on it."""

    __slots__ = ("args", "state")

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __new__(cls, *args: Any) -> Inert:
        made = super().__new__(cls)
        made.args, made.state = args, None  # a pickle may leave out the call of __init__
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class PickledArray(Inert):
    """A NumPy array."""

    __slots__ = ()

    def tensor(self) -> torch.Tensor | None:
        """Its numbers; None if it holds something else, or not as many as it says."""
        try:
            _, shape, dtype, by_columns, raw = self.state
            kind, order = dtype.args[0], dtype.state[1]
            if not isinstance(raw, bytes) or not re.fullmatch("[|<>=](b1|[fiu][1248])", order + kind):
                return None
            numbers = np.frombuffer(raw, np.dtype(order.replace("|", "") + kind))
            numbers = numbers.reshape(shape, order="F" if by_columns else "C")
            return torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), order="C"))
        except (TypeError, ValueError, AttributeError, IndexError):
            return None


class _Mapping:
    """Stands for kinds of ``dict``: an ordinary one, since the file puts its items in."""

    def __new__(cls, *args: Any) -> Any:
        return {}


class _List:
    """Likewise for kinds of ``list``."""

    def __new__(cls, *args: Any) -> Any:
        return []


_PLAIN = """
argparse.Namespace types.SimpleNamespace typing.Any
builtins.bool builtins.bytes builtins.dict builtins.float builtins.frozenset builtins.int builtins.list builtins.range
builtins.slice builtins.str builtins.tuple
datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone
decimal.Decimal fractions.Fraction uuid.SafeUUID uuid.UUID
numpy.dtype numpy.ndarray numpy.bool numpy.bool_ numpy.float16 numpy.float32 numpy.float64 numpy.int8 numpy.int16
numpy.int32 numpy.int64 numpy.uint8 numpy.uint16 numpy.uint32 numpy.uint64 numpy.str_
omegaconf.base.ContainerMetadata omegaconf.base.Metadata omegaconf.dictconfig.DictConfig
omegaconf.listconfig.ListConfig omegaconf.nodes.AnyNode omegaconf.nodes.BooleanNode omegaconf.nodes.FloatNode
omegaconf.nodes.IntegerNode omegaconf.nodes.StringNode
torch.torch_version.TorchVersion
"""
_PATHS = ["Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]
_MAPPINGS = """
collections.defaultdict lightning.fabric.utilities.data.AttributeDict
lightning.pytorch.utilities.parsing.AttributeDict lightning_fabric.utilities.data.AttributeDict
pytorch_lightning.utilities.parsing.AttributeDict
"""


def _stand_in(name: str) -> type[Inert]:
    return cast(type[Inert], type(name.rpartition(".")[2], (Inert,), {"__slots__": ()}))


_ALLOWED: dict[str, type] = {
    **{name: _stand_in(name) for name in _PLAIN.split()},
    **{f"{module}.{name}": _stand_in(name) for module in ("pathlib", "pathlib._local") for name in _PATHS},
    **dict.fromkeys(_MAPPINGS.split(), _Mapping),
    "collections.deque": _List,
}
for _module in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _ALLOWED[f"{_module}.multiarray.scalar"] = _stand_in("number")
    _ALLOWED[f"{_module}.multiarray._reconstruct"] = PickledArray


def plain_data() -> AbstractContextManager[None]:
    """While it is entered, ``torch.load(weights_only=True)`` reads plain data as :class:`Inert`."""
    return cast(
        AbstractContextManager[None],
        torch.serialization.safe_globals([(stand_in, name) for name, stand_in in _ALLOWED.items()]),
    )
