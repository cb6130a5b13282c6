"""Noticing that the modules of a converted network are no longer what they were, and so not what native code runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

from torch import nn

from ..capture.behaviour import has_global_hooks, patches
from ..capture.graph import Graph


class Intact:
    """Watches the modules that a converted network is made of.

    What torch runs before the native ops may be hooked and patched, as it is called; it may not be replaced.

    Args:
        model: the network.
        graph: of it.
        in_torch: names of the nodes that torch runs.
    """

    def __init__(self, model: nn.Module, graph: Graph, in_torch: frozenset[str]) -> None:
        calls = [node for node in graph.traces.evaluation.graph.nodes if node.op == "call_module"]
        native = {str(node.target) for node in calls if node.name not in in_torch}
        called = {model.get_submodule(str(node.target)) for node in calls if str(node.target) not in native}
        inside = {m for leaf in called for m in leaf.modules()}
        watched = [(name, m) for name, m in model.named_modules() if m not in inside]
        self._names = [name or type(model).__name__ for name, _ in watched]
        self._modules = [m for _, m in watched]
        self._kinds = list(map(type, self._modules))
        self._attributes: list[dict[str, Any]] = [vars(m) for m in self._modules]
        self._counts = list(map(len, self._attributes))
        self._forwards = self._look_for_forwards()
        self._patches = {m: patches(m) for m in self._modules if patches(m)}  # traced as they are
        self._hooks = [hooks for m in self._modules for hooks in _hooks(m)]
        placed = [(name, m) for name, m in model.named_modules() if name and (m not in inside or m in called)]
        leaves = [(name, m) for name, m in watched if name in native]
        settings = [(name, vars(m), key) for name, m in leaves for key in _SETTINGS if key in vars(m)]
        self._setting_names = [f"{name}.{key}" for name, _, key in settings]
        self._setting_tables: list[dict[str, Any]] = [table for _, table, _ in settings]
        self._setting_keys = [key for _, _, key in settings]
        self._settings = list(map(dict.get, self._setting_tables, self._setting_keys))
        self._place_names = [name for name, _ in placed]
        self._placed = [m for _, m in placed]
        self._tables = [model.get_submodule(name.rpartition(".")[0])._modules for name in self._place_names]
        self._keys = [name.rpartition(".")[2] for name in self._place_names]

    def _look_for_forwards(self) -> list[Any]:
        return list(map(dict.get, self._attributes, repeat("forward")))

    def check(self) -> None:
        """Raises RuntimeError if a module was replaced, parametrised, hooked or patched.

        Every call of the model runs this, on cold caches: no line of Python per module.
        """
        here = list(map(dict.get, self._tables, self._keys))
        if here != self._placed:
            gone = [a is b for a, b in zip(here, self._placed, strict=True)].index(False)
            _refuse(self._place_names[gone], "was replaced")
        settings = list(map(dict.get, self._setting_tables, self._setting_keys))
        if settings != self._settings:
            other = [a == b for a, b in zip(settings, self._settings, strict=True)].index(False)
            _refuse(self._setting_names[other], "was changed")
        kinds = list(map(type, self._modules))
        if kinds != self._kinds:
            changed = [a is b for a, b in zip(kinds, self._kinds, strict=True)].index(False)
            _refuse(self._names[changed], "became another class, by a parametrisation perhaps,")
        if any(self._hooks):
            hooked = next(i for i, hooks in enumerate(self._hooks) if hooks)
            _refuse(self._names[hooked // _HOOK_KINDS], "got a hook, which would never be called,")
        if has_global_hooks():
            raise RuntimeError(
                "hooks for all modules are registered, which native layers would never call; remove them"
            )
        counts = list(map(len, self._attributes))
        forwards = self._look_for_forwards()
        if counts != self._counts or forwards != self._forwards:  # only an attribute can hide a method
            for name, module in zip(self._names, self._modules, strict=True):
                if patches(module) != self._patches.get(module, {}):
                    method = next(iter(patches(module).keys() ^ self._patches.get(module, {}).keys()), "forward")
                    _refuse(name, f"got another {method}, which would never be called,")
            self._counts = counts


_HOOK_KINDS = 4
#: Attributes of native modules that a plan is made for.
_SETTINGS = (
    *("stride", "padding", "dilation", "groups", "padding_mode", "eps", "p", "kernel_size", "min_val", "max_val"),
    *("negative_slope", "alpha", "beta", "threshold", "approximate", "ceil_mode", "count_include_pad", "output_size"),
    *("divisor_override", "num_groups", "normalized_shape", "size", "scale_factor", "mode", "align_corners", "dim"),
    *("upscale_factor", "downscale_factor", "start_dim", "end_dim", "output_padding", "value", "drop_prob"),
    "recompute_scale_factor",
)


def _hooks(m: nn.Module) -> Iterator[dict[int, Any]]:
    yield from (m._forward_pre_hooks, m._forward_hooks, m._backward_pre_hooks, m._backward_hooks)


def _refuse(name: str, what: str) -> None:
    raise RuntimeError(f"{name} {what} after convert; sparsebp.restore(model) first, change it, and convert again")
