"""What bench/footprint.py runs, each function in a process of its own: it imports what it needs and no more."""

from __future__ import annotations

import os
from pathlib import Path

SIZE = 128
CLASSES = 10


def memory() -> dict[str, int]:
    """Kilobytes, by the system's names for them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {key: int(rest.split()[0]) for key, _, rest in (x.partition(":") for x in lines) if key in KEYS}


KEYS = ("VmHWM", "RssAnon", "RssFile")


def numpy_alone(plan: Path, steps: int) -> None:
    """What sparsebp.runtime is compared to."""
    import numpy as np

    np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)


def runtime(plan: Path, steps: int) -> None:
    """A session in Python."""
    import numpy as np
    from sparsebp.runtime import Session

    session, noise = Session(plan), np.random.default_rng(0)
    for step in range(steps):
        session.train(noise.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8), [step % CLASSES])


def autograd(plan: Path, steps: int) -> None:
    """The ordinary loop of PyTorch on a converted model."""
    import sparsebp
    import torch

    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.0005)
    for step in range(steps):
        loss = torch.nn.functional.cross_entropy(model(torch.randn(1, 3, SIZE, SIZE)), torch.tensor([step % CLASSES]))
        loss.backward()
        opt.step()


def dense(plan: Path, steps: int) -> None:
    """The same network in plain PyTorch, every weight trained."""
    import torch

    model = network().train()
    opt = torch.optim.SGD(model.parameters(), lr=0.0005)
    for step in range(steps):
        loss = torch.nn.functional.cross_entropy(model(torch.randn(1, 3, SIZE, SIZE)), torch.tensor([step % CLASSES]))
        loss.backward()
        opt.step()
        opt.zero_grad()


def network():
    """MobileNetV2, with ImageNet's weights where SPARSEBP_DATA has them."""
    import sparsebp
    import torch

    weights = Path(os.environ.get("SPARSEBP_DATA", ".")) / "mobilenet_v2_imagenet.pt"
    model = sparsebp.models.mobilenet_v2(1000)
    if weights.exists():
        model.load_state_dict(torch.load(weights, mmap=True))
    model.classifier[1] = torch.nn.Linear(1280, CLASSES)
    return model


def converted():
    import sparsebp

    return sparsebp.convert(network(), "256KB", input_size=(3, SIZE, SIZE), max_update_ratio=0.02).train()


def export(plan: Path, steps: int) -> None:
    """Writes the plan file that the others read."""
    import sparsebp

    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.0005)
    preprocess = sparsebp.data.Preprocess((SIZE, SIZE), range=(-1.0, 1.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    sparsebp.export(model, plan, preprocess=preprocess)
    del opt
