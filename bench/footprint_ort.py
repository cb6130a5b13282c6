"""MobileNetV2 in ONNX Runtime, every weight trained: what bench/footprint.py --ort runs where it is installed.

    pip install onnxruntime-training==1.19.2 'onnx<1.17' 'numpy<2'

Its package imports torch, which training does not need: here its modules are loaded without that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import onnxruntime

CLASSES, SIZE, THREADS = 10, 128, 2

package = ModuleType("onnxruntime.training")
package.__path__ = [str(Path(onnxruntime.__file__).parent / "training")]
sys.modules[package.__name__] = package


def prepare(network: Path) -> None:
    """Writes the graphs of a training step beside the network."""
    import onnx
    from onnxruntime.training import artifacts

    model = onnx.load(str(network))
    artifacts.generate_artifacts(
        model,
        requires_grad=[weight.name for weight in model.graph.initializer if weight.dims],
        loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=str(network.parent),
    )


def train(network: Path, steps: int) -> Iterator[None]:
    import numpy as np
    from onnxruntime.training.api import CheckpointState, Module, Optimizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    file = lambda name: str(network.with_name(name))  # noqa: E731
    module = Module(
        file("training_model.onnx"), CheckpointState.load_checkpoint(file("checkpoint")), session_options=options
    )
    optimizer = Optimizer(file("optimizer_model.onnx"), module)
    module.train()
    noise = np.random.default_rng(0)
    for step in range(steps):
        picture = noise.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
        yield
        module(picture, np.array([step % CLASSES]))
        optimizer.step()
        module.lazy_reset_grad()
        yield
