"""MobileNetV2 in ONNX Runtime: what bench/footprint.py and bench/rivals.py run with --ort, where it is installed.

    pip install onnxruntime-training==1.19.2 'onnx<1.17' 'numpy<2'

Its package imports torch, which training does not need: here its modules are loaded without that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime

CLASSES, SIZE, THREADS, RATE = 10, 128, 2, 0.0005

package = ModuleType("onnxruntime.training")
package.__path__ = [str(Path(onnxruntime.__file__).parent / "training")]
sys.modules[package.__name__] = package


def prepare(network: str | Path, folder: str | Path = "", begin: str = "") -> None:
    """Writes the graphs of a training step into a folder, or beside the network.

    Args:
        network: an ONNX file as torch's first exporter writes it, whose nodes are named after their modules.
        begin: a module; what comes before it is frozen.
    """
    import onnx
    from onnxruntime.training import artifacts

    model = onnx.load(str(network))
    nodes = list(model.graph.node)
    if begin:
        nodes = nodes[next(i for i, node in enumerate(nodes) if f"/{begin}/" in node.name) :]
    read = {name for node in nodes for name in node.input}
    weights = [weight.name for weight in model.graph.initializer if weight.dims]
    out = Path(folder or Path(network).parent)
    out.mkdir(exist_ok=True)
    artifacts.generate_artifacts(
        model,
        requires_grad=[name for name in weights if name in read],
        frozen_params=[name for name in weights if name not in read],
        loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=str(out),
    )


class Trainer:
    """Steps of SGD, of what :func:`prepare` wrote into a folder."""

    def __init__(self, folder: Path, threads: int = THREADS, rate: float = RATE) -> None:
        from onnxruntime.training.api import CheckpointState, Module, Optimizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
        self.module = Module(str(folder / "training_model.onnx"), self.state, session_options=options)
        self.optimizer = Optimizer(str(folder / "optimizer_model.onnx"), self.module)
        self.optimizer.set_learning_rate(rate)
        self.module.train()
        self.trained = {name for name, weight in self.state.parameters if weight.requires_grad}

    def give(self, images: np.ndarray, labels: np.ndarray) -> None:
        """What the next steps train on: float32 [N, 3, H, W] of the network's size, integers [N]."""
        self.images, self.labels = images, labels

    def step(self) -> None:
        self.module(self.images, self.labels)
        self.optimizer.step()
        self.module.lazy_reset_grad()

    def weights(self) -> Iterator[tuple[str, np.ndarray]]:
        for name, weight in self.state.parameters:
            yield name, weight.data


def train(network: Path, steps: int) -> Iterator[None]:
    """Trains every weight; between each pair of values one step, on a picture made before it."""
    trainer = Trainer(network.parent)
    noise = np.random.default_rng(0)
    for step in range(steps):
        trainer.give(noise.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32), np.array([step % CLASSES]))
        yield
        trainer.step()
        yield
