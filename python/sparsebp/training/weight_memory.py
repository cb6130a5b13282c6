"""Where a native program finds its weights: memory layout, addresses, and noticing that they moved."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .. import _C
from ..capture.layer import LayerTensors

Source = tuple[dict[str, Any], str]
"""Where a parameter or buffer stands: a table of a module, and the key in it."""
Sources = tuple["Source | None", ...]
"""Those of a layer: weight, bias, and gamma, beta, mean and variance of its norm; None where it has none."""


def sources_of(model: nn.Module, tensors: LayerTensors) -> Sources:
    """Where the parameters and buffers of a layer of ``model`` stand."""

    def source(name: str | None) -> Source | None:
        if name is None:
            return None
        owner, _, key = name.rpartition(".")
        module = model.get_submodule(owner)
        return (module._buffers if key in module._buffers else module._parameters), key

    return tuple(map(source, tensors.names))


def kernel_order(dimensions: int, transposed: bool = False) -> tuple[int, ...]:
    """The order of a weight's dimensions in memory: kernel, input, output."""
    inner = (0, 1) if transposed else (1, 0)
    return (*range(2, dimensions), *inner)


def kernel_layout_(parameter: nn.Parameter | torch.Tensor, transposed: bool = False) -> None:
    """Moves a weight, in place, to memory ordered HWIO (linear: input, output); shape and keys stay.

    One layer's worth of memory is held twice for a moment.
    """
    if in_kernel_layout(parameter, transposed):
        return
    order = kernel_order(parameter.dim(), transposed)
    back = [order.index(i) for i in range(parameter.dim())]
    parameter.data = parameter.detach().permute(order).contiguous().permute(back)


def in_kernel_layout(parameter: torch.Tensor, transposed: bool = False) -> bool:
    """Whether a weight's memory is HWIO already; strides of dimensions of size one do not count."""
    return parameter.permute(kernel_order(parameter.dim(), transposed)).is_contiguous()


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
        layers: per native layer where its parameters stand.
        dtype: element type of the program.
        device: where it runs.
    """

    def __init__(
        self,
        program: _C.Program,
        specs: Sequence[_C.LayerSpec],
        layers: Sequence[Sources],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._program = program
        self._specs = list(specs)
        self.layers = list(layers)
        self.dtype, self.device = dtype, device
        sources = [source for of_layer in self.layers for source in of_layer if source is not None]
        self._sources = [(table, key) for table, key in sources if table.get(key) is not None]
        self._weights = [of_layer[0] for of_layer in self.layers if of_layer[0] is not None]
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
        for of_layer, spec in zip(self.layers, self._specs, strict=True):
            check_layer(of_layer, spec, self.dtype, self.device)
        for i, (of_layer, spec) in enumerate(zip(self.layers, self._specs, strict=True)):
            if of_layer[0] is not None:
                kernel_layout_(_tensor(of_layer[0]), spec.kind == _C.LayerKind.transposed)
            self._program.bind(i, *map(_address, of_layer))
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
        return [table[key].stride() for table, key in self._weights]

    def trained(self) -> list[nn.Parameter]:
        """The parameters that this program trains, in network order."""
        return self._trained

    def trained_slots(self) -> list[tuple[tuple[int, int], nn.Parameter]]:
        """The same with (layer, weight/bias/shift), the place of each parameter's rule."""
        return self._slots

    def find_trained(self) -> list[tuple[dict[str, Any], str]]:
        """Looks which parameters are there now, for others may have been assigned; where they stand."""
        out: list[tuple[tuple[int, int], nn.Parameter]] = []
        places: list[Source] = []
        for i, (of_layer, spec) in enumerate(zip(self.layers, self._specs, strict=True)):
            weight, bias, _, beta, *_ = of_layer
            trains = (weight, spec.selected > 0), (bias, spec.train_bias), (beta, spec.train_bias)
            for j, (source, on) in enumerate(trains):
                if on and source is not None and _tensor(source) is not None:
                    out.append(((i, j), _tensor(source)))
                    places.append(source)
        self._slots, self._trained = out, [p for _, p in out]
        return places


def _tensor(source: Source) -> Any:
    return source[0].get(source[1])


def _address(source: Source | None) -> int:
    tensor = None if source is None else _tensor(source)
    return 0 if tensor is None else int(tensor.data_ptr())


def place(layers: Sequence[Sources]) -> torch.device:
    """Where the first layer's parameters are, and so the others have to be."""
    tensors = (_tensor(source) for of_layer in layers for source in of_layer if source is not None)
    return next(torch.device(tensor.device) for tensor in tensors if tensor is not None)


#: Of a layer's sources, for messages.
_NAMES = ("weight", "bias", "norm weight", "norm bias", "norm running_mean", "norm running_var")


def check_layer(sources: Sources, spec: _C.LayerSpec, dtype: torch.dtype, device: torch.device) -> None:
    """Raises unless a layer's tensors have the dtype, device, shape and layout that its program expects."""
    weight, bias = sources[:2]
    if weight is not None and _tensor(weight) is None:
        raise RuntimeError(
            f"{spec.name}: its weight is no longer a parameter of its own, by a parametrisation perhaps; undo that, or "
            "sparsebp.restore(model) first, change it, and convert again"
        )
    if spec.has_bias and (bias is None or _tensor(bias) is None):
        raise RuntimeError(f"{spec.name}: its bias is gone; sparsebp.restore(model) first, and convert again")
    for what, source in zip(_NAMES, sources, strict=True):
        tensor = None if source is None else _tensor(source)
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
        if what == "weight":
            expected = _weight_shape(spec, tensor.dim())
        else:
            count = 1 if spec.shared else spec.shape.out
            expected = [count] if tensor.numel() != count else list(tensor.shape)  # a scale may be [C, 1, 1]
        if list(tensor.shape) != expected:
            raise ValueError(f"{spec.name}: its {what} is {list(tensor.shape)}, expected {expected}")
        if what != "weight" and not tensor.is_contiguous():
            raise ValueError(f"{spec.name}: its {what} is not contiguous in memory")


def _weight_shape(spec: _C.LayerSpec, dimensions: int) -> list[int]:
    shape = spec.shape
    channels = [shape.out, getattr(shape, "in") // shape.groups]
    if spec.kind == _C.LayerKind.transposed:
        channels = [getattr(shape, "in"), shape.out // shape.groups]
    kernel = [shape.kernel_h, shape.kernel_w]
    return channels + (kernel[4 - dimensions :] if dimensions > 2 else [])
