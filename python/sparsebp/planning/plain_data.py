"""From what JSON holds to dataclasses, by their type hints: what does not fit is refused and named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

#: What each type is called in messages.
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    dict: "an object",
    tuple: "a list",
}


def read(kind: Any, data: Any, where: str) -> Any:
    """``data`` as a ``kind``: a dataclass, a tuple, a dict with text as keys, int, float, bool, str, None, or a union.

    Args:
        kind: the type.
        data: from ``json.loads``.
        where: what messages call it.

    Raises:
        ValueError: it is something else; the message begins with ``where`` or a part of it.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _read_union(inner, data, where)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [f.name for f in fields(kind)]
        check_keys(data, names, where)
        return kind(**{name: read(hints[name], data[name], f"{where}.{name}") for name in names})
    if origin is dict:
        if not isinstance(data, Mapping):
            raise unexpected(dict, data, where)
        return {key: read(inner[1], value, f"{where}.{key}") for key, value in data.items()}
    if origin is tuple:
        return _read_tuple(inner, data, where)
    if kind is float and type(data) is int:
        data = float(data) if abs(data) < 2**53 else data
    if type(data) is not kind or (kind is int and not -(2**63) <= data < 2**64):
        raise unexpected(kind, data, where)
    return data


def check_keys(data: Any, names: list[str], where: str) -> None:
    """Raises ValueError unless ``data`` is an object with exactly these keys."""
    if not isinstance(data, Mapping):
        raise unexpected(dict, data, where)
    for name in names:
        if name not in data:
            raise ValueError(f"{where}.{name}: it is missing")
    for name in data:
        if name not in names:
            raise ValueError(f"{where}.{name}: there is no such key; the keys are {', '.join(names)}")


def without(data: Any, key: str, where: str) -> dict[str, Any]:
    """``data`` less one of its keys; raises ValueError unless it is an object that has it."""
    if not isinstance(data, dict) or key not in data:
        raise ValueError(f"{where}.{key}: it is missing")
    return {k: value for k, value in data.items() if k != key}


def unexpected(kind: Any, data: Any, where: str) -> ValueError:
    """That ``data`` is no ``kind``."""
    shown = repr(data)
    return ValueError(
        f"{where}: expected {_WORDS.get(kind, kind)}, got {shown if len(shown) < 60 else f'{shown[:60]}...'}"
    )


def first_difference(own: Any, other: Any, where: str) -> str | None:
    """What differs first between two pieces of plain data, and where; None if nothing does."""
    if isinstance(own, Mapping) and isinstance(other, Mapping):
        for key in [*own, *(key for key in other if key not in own)]:
            if key not in other:
                return f"{where}.{key}: it is missing"
            if key not in own:
                return f"{where}.{key}: there is no such key"
            found = first_difference(own[key], other[key], f"{where}.{key}")
            if found is not None:
                return found
        return None
    if isinstance(own, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(own) != len(other):
            return f"{where}: expected {len(own)} of them, got {len(other)}"
        pairs = (first_difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(own, other, strict=True)))
        return next((found for found in pairs if found is not None), None)
    same = own == other and isinstance(own, bool) == isinstance(other, bool)
    return None if same else f"{where}: expected {own!r}, got {other!r}"


def _read_union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    """Unions of one type and None are all there are."""
    if data is None and type(None) in kinds:
        return None
    (kind,) = (k for k in kinds if k is not type(None))
    return read(kind, data, where)


def _read_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if not isinstance(data, (list, tuple)):
        raise unexpected(tuple, data, where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(read(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(data) != len(kinds):
        raise ValueError(f"{where}: expected {len(kinds)} of them, got {len(data)}")
    return tuple(read(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, data, strict=True)))
