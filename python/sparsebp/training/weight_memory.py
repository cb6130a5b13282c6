"""Where a native program finds its weights: memory layout, addresses, and noticing that they moved."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .. import _C


def kernel_layout_(parameter: nn.Parameter | torch.Tensor) -> None:
    """Moves a weight, in place, to memory ordered HWIO (linear: input, output); shape and keys stay.

    One layer's worth of memory is held twice for a moment.
    """
    if in_kernel_layout(parameter):
        return
    data = parameter.detach()
    if data.dim() == 4:
        data = data.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    else:
        data = data.t().contiguous().t()
    parameter.data = data


def in_kernel_layout(parameter: torch.Tensor) -> bool:
    """Whether a weight's memory is HWIO already; strides of dimensions of size one do not count."""
    order = (2, 3, 1, 0) if parameter.dim() == 4 else (1, 0)
    return parameter.permute(order).is_contiguous()


class Watch:
    """Notices other tensors in the places of some, and the same tensors in other memory.

    Args:
        sources: the places, as tables of a module and keys.
    """

    def __init__(self, sources: Sequence[tuple[dict[str, Any], str]]) -> None:
        self._tables, self._keys = [d for d, _ in sources], [k for _, k in sources]
        self._tensors = self._look()
        self._pointers = list(map(torch.Tensor.data_ptr, self._tensors))
        # Should memory be replaced all the same, what native code knows stays allocated until it is told.
        self._storages = [t.untyped_storage() for t in self._tensors]

    def _look(self) -> list[torch.Tensor]:
        return list(map(operator.getitem, self._tables, self._keys))

    def moved(self) -> bool:
        """Whether anything did. Runs several times a step, on cold caches: no line of Python per tensor."""
        tensors: list[torch.Tensor] = list(map(dict.get, self._tables, self._keys))  # type: ignore[arg-type]
        if not all(map(operator.is_, tensors, self._tensors)):
            return True
        return list(map(torch.Tensor.data_ptr, tensors)) != self._pointers


class Weights:
    """The parameters of a program's layers.

    Args:
        program: gets the addresses.
        specs: the native layers.
        layers: per native layer the module that holds weight and bias, and its batch norm or None.
        dtype: element type of the program.
        device: where it runs.
    """

    def __init__(
        self,
        program: _C.Program,
        specs: Sequence[_C.LayerSpec],
        layers: Sequence[tuple[nn.Module, nn.Module | None]],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._program = program
        self._specs = list(specs)
        self.layers = list(layers)
        self.dtype, self.device = dtype, device
        self._sources: list[tuple[dict[str, Any], str]] = []
        for module, norm in self.layers:
            self._sources += [(module._parameters, "weight"), (module._parameters, "bias")]
            if norm is not None:
                self._sources += [(norm._parameters, "weight"), (norm._parameters, "bias")]
                self._sources += [(norm._buffers, "running_mean"), (norm._buffers, "running_var")]
        self._sources = [(d, k) for d, k in self._sources if d.get(k) is not None]
        self._weights = [module._parameters for module, _ in self.layers]
        self._all = self._some = Watch([])
        self._strides: list[tuple[int, ...]] = []
        self._slots: list[tuple[tuple[int, int], nn.Parameter]] = []
        self._trained: list[nn.Parameter] = []
        self.bind()

    def bind(self) -> None:
        """Gives the program the current addresses, after moving weights to the kernels' layout.

        Raises:
            TypeError, ValueError: a parameter changed its dtype, device or shape.
        """
        for i, (module, norm) in enumerate(self.layers):
            check_layer(module, norm, self._specs[i], self.dtype, self.device)
        for i, (module, norm) in enumerate(self.layers):
            kernel_layout_(_weight(module._parameters))
            address = [_address(module._parameters.get(k)) for k in ("weight", "bias")]
            if norm is not None:
                address += [_address(norm._parameters.get(k)) for k in ("weight", "bias")]
                address += [_address(norm._buffers.get(k)) for k in ("running_mean", "running_var")]
            self._program.bind(i, *address)
        self._strides = self._weight_strides()
        self._all = Watch(self._sources)
        self._some = Watch(self.find_trained())

    def moved(self) -> bool:
        """Whether ``load_state_dict(assign=True)``, ``.to()`` or the like replaced or reordered memory."""
        return self._all.moved() or self._weight_strides() != self._strides

    def trained_moved(self) -> bool:
        """The same, between a forward pass that noticed and its backward pass: only what trains is looked at."""
        return self._some.moved()

    def _weight_strides(self) -> list[tuple[int, ...]]:
        return list(map(torch.Tensor.stride, [d["weight"] for d in self._weights]))  # type: ignore[arg-type]

    def trained(self) -> list[nn.Parameter]:
        """The parameters that this program trains, in network order."""
        return self._trained

    def trained_slots(self) -> list[tuple[tuple[int, int], nn.Parameter]]:
        """The same with (layer, weight/bias/shift), the place of each parameter's rule."""
        return self._slots

    def find_trained(self) -> list[tuple[dict[str, Any], str]]:
        """Looks which parameters are there now, for others may have been assigned; where they stand."""
        out: list[tuple[tuple[int, int], nn.Parameter]] = []
        places: list[tuple[dict[str, Any], str]] = []
        for i, ((module, norm), spec) in enumerate(zip(self.layers, self._specs, strict=True)):
            shifts = norm._parameters if norm is not None else {}
            candidates = [(module._parameters, "weight", spec.selected > 0)]
            candidates += [(module._parameters, "bias", spec.train_bias), (shifts, "bias", spec.train_bias)]
            for j, (table, key, on) in enumerate(candidates):
                parameter = table.get(key)
                if on and parameter is not None:
                    out.append(((i, j), parameter))
                    places.append((table, key))
        self._slots, self._trained = out, [p for _, p in out]
        return places


def _weight(parameters: dict[str, nn.Parameter | None]) -> nn.Parameter:
    weight = parameters["weight"]
    assert weight is not None
    return weight


def _address(tensor: torch.Tensor | None) -> int:
    return tensor.data_ptr() if tensor is not None else 0


def place(layers: Sequence[tuple[nn.Module, nn.Module | None]]) -> torch.device:
    """Where the first layer's weight is, and so the others have to be."""
    return _weight(layers[0][0]._parameters).device


def check_layer(
    module: nn.Module, norm: nn.Module | None, spec: _C.LayerSpec, dtype: torch.dtype, device: torch.device
) -> None:
    """Raises unless a layer's tensors have the dtype, device, shape and layout that its program expects."""
    shape = spec.shape
    tensors: list[tuple[str, torch.Tensor | None]] = [
        ("weight", module._parameters.get("weight")),
        ("bias", module._parameters.get("bias")),
    ]
    if norm is not None:
        tensors += [(f"norm {k}", norm._parameters.get(k)) for k in ("weight", "bias")]
        tensors += [(f"norm {k}", norm._buffers.get(k)) for k in ("running_mean", "running_var")]
    if module._parameters.get("weight") is None:
        raise RuntimeError(
            f"{spec.name}: its weight is no longer a parameter of its own, by a parametrisation perhaps; undo that, or "
            "sparsebp.restore(model) first, change it, and convert again"
        )
    if spec.has_bias and module._parameters.get("bias") is None:
        raise RuntimeError(f"{spec.name}: its bias is gone; sparsebp.restore(model) first, and convert again")
    for what, tensor in tensors:
        if tensor is None:
            continue
        if tensor.device != device:
            raise ValueError(
                f"{spec.name}: its {what} is on {tensor.device}, other parameters are on {device}; move the whole model"
            )
        if tensor.dtype != dtype:
            raise TypeError(
                f"{spec.name}: its {what} is {tensor.dtype}, the plan was made for {dtype}; restore the model, "
                "change its dtype and convert it again"
            )
        full = [shape.out, getattr(shape, "in") // shape.groups]
        full += [shape.kernel_h, shape.kernel_w] if isinstance(module, nn.Conv2d) else []
        expected = full if what == "weight" else [shape.out]
        if list(tensor.shape) != expected:
            raise ValueError(f"{spec.name}: its {what} is {list(tensor.shape)}, expected {expected}")
        if what != "weight" and not tensor.is_contiguous():
            raise ValueError(f"{spec.name}: its {what} is not contiguous in memory")
