"""Models by name: ``mobilenet_v2`` and others of the package, ``timm:NAME`` and ``torchvision:NAME``, or
``package.module:function`` for one of yours."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from torch import nn

from .efficientnet_lite0 import efficientnet_lite0
from .mobilenet_v2 import mobilenet_v2, mobilenet_v2_tf
from .suggestion import suggestion
from .zoos import ZOOS, zoo_builder

#: Networks that have a name of their own.
KNOWN: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_tf": mobilenet_v2_tf,
    "efficientnet_lite0": efficientnet_lite0,
}


def resolve_model(name: str) -> Callable[..., nn.Module]:
    """The function meant by ``name``: of ``sparsebp.models``, of a package with networks, or
    ``package.module:function``.

    As with ``python -m``, modules are also looked for in the current directory, first.

    Raises:
        ValueError: there is no such model, module or function, or the module cannot be imported.
        TypeError: what the name stands for is no function.
        ImportError: the package with networks is not installed.
    """
    module_name, colon, path = name.partition(":")
    if colon and module_name in ZOOS:
        return zoo_builder(name)
    if not colon:
        if name in KNOWN:
            return KNOWN[name]
        raise ValueError(
            f"model: expected {', '.join(KNOWN)}, or package.module:function, got {name!r}{suggestion(name, KNOWN)}; "
            f"networks of other packages are {' and '.join(f'{zoo}:NAME' for zoo in ZOOS)}"
        )
    if module_name.endswith(".py"):
        example = f"{Path(module_name).stem}:{path or 'function'}"
        raise ValueError(f"model: expected package.module:function, such as {example} for a file here, got {name!r}")
    if not path or not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise ValueError(f"model: expected package.module:function, got {name!r}")
    module = _import(module_name)
    found: object = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"model: {module_name} has no {path!r}{suggestion(path, _callables(module))}")
        found = getattr(found, part)
    if isinstance(found, nn.Module) or not callable(found):
        what = type(found).__name__
        raise TypeError(f"model: {name} is an object of type {what}; expected a function that makes a torch.nn.Module")
    return found


def build_model(name: str, num_classes: int | None = None) -> nn.Module:
    """The network that the function behind ``name`` makes.

    Args:
        name: see :func:`resolve_model`.
        num_classes: given to the function if it takes a keyword of that name.

    Raises:
        ValueError: see :func:`resolve_model`, or the function failed; the message says with what.
        TypeError: it made something that is no torch.nn.Module.
    """
    function = resolve_model(name)
    keywords = {"num_classes": num_classes} if num_classes is not None and takes_classes(function) else {}
    try:
        made: object = function(**keywords)
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # even SystemExit: it is not this program's end
        given = ", ".join(f"{k}={v}" for k, v in keywords.items())
        raise ValueError(f"model: {name}({given}) failed: {_cause(error)}") from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"model: {name} returned an object of type {type(made).__name__}; expected a torch.nn.Module")
    return made


def takes_classes(function: Callable[..., object]) -> bool:
    """Whether ``function`` can be called with ``num_classes=``."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some callables written in C tell nothing
        return False
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return any(
        p.kind is inspect.Parameter.VAR_KEYWORD or (p.name == "num_classes" and p.kind in by_name) for p in parameters
    )


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise ValueError(
                f"model: there is no module {missing!r}, neither in {here} nor among the installed packages"
            ) from error
        raise ValueError(f"model: importing {name} failed: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """Type, message and the line that raised it."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    # The first frames are this file's; those of the import machinery have no file either.
    own = [f for f in frames[1:] if not f.filename.startswith("<frozen") and f.filename != importlib.__file__]
    if isinstance(error, SyntaxError) or not own:
        return text
    return f"{text} ({own[-1].filename}, line {own[-1].lineno})"


def _callables(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
