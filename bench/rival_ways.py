"""How each contender of bench/rivals.py trains: what is made in a process of its own, a ``Way`` of rival_process.py.

Each imports what it needs and no more; all train on one batch, ``x.npy`` [N, 3, H, W] and ``y.npy`` [N], again and
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RATE = 0.003
"""Every weight changes within two steps, and a hundred steps do not diverge."""

Weights = Iterator[tuple[str, Any]]
"""Names, and the bytes of the weights or arrays of them."""


def _batch(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, float32 [N, 3, H, W], and classes, int64 [N]."""
    return np.load(Path(folder) / "x.npy"), np.load(Path(folder) / "y.npy")


class Session:
    """sparsebp's native session: no torch."""

    def __init__(self, folder: str, threads: int) -> None:
        from sparsebp.runtime import Session
        from sparsebp.runtime.threads import set_threads

        set_threads(threads)
        self._session = Session(Path(folder) / "plan.safetensors")
        self._saved = Path(folder) / "trained.safetensors"
        x, self._y = _batch(folder)
        self._x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        self.trained = set(self._session.trainable)

    def step(self) -> None:
        self._session.train(self._x, self._y)

    def weights(self) -> Weights:
        """Read one by one from a saved plan file: eight bytes with the header's length, the header, the tensors."""
        self._session.save(self._saved)
        with self._saved.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            begin = file.tell()
            for name, tensor in header.items():
                if not name.startswith(("__metadata__", "sparsebp.")):
                    first, last = tensor["data_offsets"]
                    file.seek(begin + first)
                    yield name, file.read(last - first)


class _Torch:
    """The ordinary loop of PyTorch, channels_last."""

    def __init__(self, folder: str, threads: int, model: Any, optimizer: Any, trained: set[str]) -> None:
        import torch

        torch.set_num_threads(threads)
        self._loss = torch.nn.functional.cross_entropy
        self._model, self._optimizer, self.trained = model, optimizer, trained
        x, y = _batch(folder)
        self._x, self._y = torch.from_numpy(x).contiguous(memory_format=torch.channels_last), torch.from_numpy(y)

    def step(self) -> None:
        self._loss(self._model(self._x), self._y).backward()
        self._optimizer.step()
        self._optimizer.zero_grad()

    def weights(self) -> Weights:
        for name, weight in self._model.state_dict().items():
            yield name, weight.contiguous().numpy()


class Autograd(_Torch):
    """The same loop on a network that sparsebp converted, as the user would write it.

    Args:
        budget: bytes.
        ratio: share of the convolution weights that a step may touch.
    """

    def __init__(self, folder: str, threads: int, budget: int, ratio: float) -> None:
        import sparsebp

        x, _ = _batch(folder)
        model = sparsebp.convert(
            _load(folder, "dense"), budget, input_size=x.shape[1:], batch_size=len(x), max_update_ratio=ratio
        ).train()
        parameters = set(map(id, model.trained_parameters()))
        trained = {name for name, parameter in model.named_parameters() if id(parameter) in parameters}
        super().__init__(folder, threads, model, sparsebp.optim.SGD(model, lr=RATE), trained)


class Torch(_Torch):
    """Plain torch.

    Args:
        network: ``dense`` or ``partial``, whose parameters say what trains.
        saving: memsave_torch's layers in place of torch's, which keep less for the backward pass.
    """

    def __init__(self, folder: str, threads: int, network: str, saving: bool = False) -> None:
        import torch

        model = _load(folder, network)
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        if saving:
            from memsave_torch.nn import convert_to_memory_saving

            model = convert_to_memory_saving(model, dropout=False)  # its dropout does not run in training
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
        optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=RATE, fused=True)
        super().__init__(folder, threads, model, optimizer, trained)


def _load(folder: str, network: str) -> Any:
    import torch

    return torch.load(Path(folder) / f"{network}.pt", weights_only=False)


def mnn(folder: str, threads: int, begin: int) -> Any:
    """MNN, batch norms folded; blocks before ``begin`` are frozen."""
    import footprint_mnn

    x, y = _batch(folder)
    trainer = footprint_mnn.Trainer(x.shape[-1], begin, folded=True, threads=threads, rate=RATE)
    trainer.give(x, y)
    return trainer


def onnx_runtime(folder: str, threads: int, graphs: str) -> Any:
    """ONNX Runtime; ``graphs`` is the folder in ``folder`` that says what trains."""
    import footprint_ort

    trainer = footprint_ort.Trainer(Path(folder) / graphs, threads, RATE)
    trainer.give(*_batch(folder))
    return trainer
