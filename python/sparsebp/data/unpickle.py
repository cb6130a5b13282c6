"""Arrays out of a pickle from a stranger.

An ordinary unpickler calls whatever the file names, and numpy's own reconstruction believes what the file says about
memory. Here the few names that arrays need stand for classes of this file, which keep the numbers and do nothing; every
other name is refused. Only then, and only if they are plain integers of the promised length, do bytes become an array.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt


def load(data: bytes) -> Any:
    """What the pickle in ``data`` holds: lists, dicts, numbers, text, and :class:`PickledArray` for arrays.

    Raises:
        ValueError: it is damaged, or asks for anything else.
    """
    try:
        # Python 2 knew no bytes: its text comes as latin-1, which maps every byte to the character of that number.
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(str(error)[:200] or type(error).__name__) from None


class _Parts:
    """What a pickle said of an object, kept and not acted upon; slots, so that a pickle can hang nothing on it."""

    __slots__ = ("args", "state")

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DType(_Parts):
    __slots__ = ()


class PickledArray(_Parts):
    """An array as its pickle describes it."""

    __slots__ = ()

    def numbers(self) -> npt.NDArray[Any]:
        """The array, if it is one of integers.

        Raises:
            ValueError: other elements, or not as many bytes as its shape says.
        """
        try:
            _, shape, dtype, by_columns, raw = self.state
            (kind, *_), (_, order, *_) = dtype.args, dtype.state
            kind, order = _bytes(kind).decode(), _bytes(order).decode()
            if not isinstance(dtype, _DType) or not re.fullmatch("[|<>=][iu][1248]", order + kind):
                raise ValueError
            numbers = np.frombuffer(_bytes(raw), np.dtype(order.replace("|", "") + kind))
            return numbers.reshape([int(side) for side in shape], order="F" if by_columns else "C")
        except Exception:
            raise ValueError("it holds an array that is not one of integers, or is damaged") from None


class _Call:
    """Stands for a function that a pickle may name."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes what it may only call")


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    array = PickledArray()
    array.state = (1, shape, dtype, order == "F", raw)
    return array


def _bytes(value: Any, encoding: str = "latin1") -> bytes:
    """Bytes, which Python 2 wrote as text, and Python 3 in old protocols as text to be encoded."""
    if encoding != "latin1" or not isinstance(value, (str, bytes, bytearray)):
        raise pickle.UnpicklingError("it holds bytes in an unknown form")
    return value.encode(encoding) if isinstance(value, str) else bytes(value)


_ALLOWED = {
    ("numpy", "ndarray"): _Call(PickledArray),
    ("numpy", "dtype"): _Call(_DType),
    ("_codecs", "encode"): _Call(_bytes),
}
for _module in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    _ALLOWED[f"{_module}.multiarray", "_reconstruct"] = _Call(PickledArray)
    _ALLOWED[f"{_module}.numeric", "_frombuffer"] = _Call(_from_buffer)


class _Unpickler(pickle._Unpickler):
    """The unpickler that is written in Python: a few bytes can make the one in C allocate any amount of memory."""

    # So can a bytearray of any length in both, whether the file goes on or not; bytes are as good.
    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only plain arrays are read")
        return _ALLOWED[module, name]

    def get_extension(self, code: int) -> Any:
        raise pickle.UnpicklingError("it asks for an extension, and only plain arrays are read")
