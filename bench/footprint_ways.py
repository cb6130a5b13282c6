"""What bench/footprint.py runs, each function in a process of its own: it imports what it needs and no more.

Those that train are generators: between each pair of values they make one step, on a picture made before it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

SIZE = 128
CLASSES = 10


KEYS = ("VmHWM", "RssAnon", "RssFile")


def measured(way: Iterator[None] | None) -> dict[str, int]:
    """Kilobytes, by the system's names for them; microseconds of a step, the median of all but the first."""
    times = []
    for _ in way or ():
        begin = time.perf_counter()
        next(way)
        times.append(time.perf_counter() - begin)
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {key: int(rest.split()[0]) for key, _, rest in (x.partition(":") for x in lines) if key in KEYS}
    return {**found, **({"step": int(1e6 * sorted(times[1:])[len(times[1:]) // 2])} if len(times) > 1 else {})}


def numpy_alone(plan: Path, steps: int) -> None:
    """What sparsebp.runtime is compared to."""
    _noise()


def runtime(plan: Path, steps: int) -> Iterator[None]:
    """A session in Python."""
    from sparsebp.runtime import Session

    session = Session(plan)
    for step in range(steps):
        picture = _noise()
        yield
        session.train(picture, [step % CLASSES])
        yield


def _noise():
    """One picture; numpy's own generators would take 7 MB, most of it for OpenSSL."""
    import numpy as np

    return np.frombuffer(os.urandom(SIZE * SIZE * 3), np.uint8).reshape(1, SIZE, SIZE, 3)


def autograd(plan: Path, steps: int) -> Iterator[None]:
    """The ordinary loop of PyTorch on a converted model."""
    import sparsebp
    import torch

    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.0005)
    for step in range(steps):
        picture, label = torch.randn(1, 3, SIZE, SIZE), torch.tensor([step % CLASSES])
        yield
        torch.nn.functional.cross_entropy(model(picture), label).backward()
        opt.step()
        yield


def dense(plan: Path, steps: int) -> Iterator[None]:
    """The same network in plain PyTorch, every weight trained."""
    import torch

    model = network().train()
    opt = torch.optim.SGD(model.parameters(), lr=0.0005)
    for step in range(steps):
        picture, label = torch.randn(1, 3, SIZE, SIZE), torch.tensor([step % CLASSES])
        yield
        torch.nn.functional.cross_entropy(model(picture), label).backward()
        opt.step()
        opt.zero_grad()
        yield


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


def mnn(plan: Path, steps: int) -> Iterator[None]:
    """The same network in MNN."""
    import footprint_mnn

    return footprint_mnn.train(steps)


def export_onnx(plan: Path, steps: int) -> None:
    """The network that the next two read."""
    import warnings

    import torch

    warnings.simplefilter("ignore")  # of the exporter that needs no further package
    example = (torch.randn(1, 3, SIZE, SIZE),)
    torch.onnx.export(network().eval(), example, plan.with_name("network.onnx"), dynamo=False, opset_version=15)


def prepare_ort(plan: Path, steps: int) -> None:
    import footprint_ort

    footprint_ort.prepare(plan.with_name("network.onnx"))


def ort(plan: Path, steps: int) -> Iterator[None]:
    """The same network in ONNX Runtime."""
    import footprint_ort

    return footprint_ort.train(plan.with_name("network.onnx"), steps)


def export_one_a_step(plan: Path, steps: int) -> None:
    """A plan file for CIFAR-10 whose steps are of one picture."""
    import sparsebp

    preprocess = sparsebp.data.Preprocess((SIZE, SIZE), range=(-1.0, 1.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    sparsebp.export(converted(), plan, classes=_cifar()[1], preprocess=preprocess, lr=0.0001, batch_size=1)


def write_png(folder: Path, count: int) -> None:
    _write(folder, count, "png")


def write_ppm(folder: Path, count: int) -> None:
    _write(folder, count, "ppm")


def command_with_pillow(plan: Path, steps: int) -> None:
    _command(plan, plan.with_name("png"), steps)


def command_without_pillow(plan: Path, steps: int) -> None:
    import sys

    sys.modules["PIL"] = None  # as if it were not installed
    _command(plan, plan.with_name("ppm"), steps)


def _command(plan: Path, pictures: Path, steps: int) -> None:
    import contextlib

    from sparsebp.runtime.command import main

    out = plan.with_name(f"{pictures.name}.safetensors")
    words = ["train", plan, "--data", pictures, "--out", out, "--steps", steps, "--test-share", 0.01]
    with contextlib.suppress(SystemExit):
        main(list(map(str, words)))


def _write(folder: Path, count: int, kind: str) -> None:
    train, names = _cifar()
    for i in range(count):
        inside = folder / names[train.labels[i]]
        inside.mkdir(parents=True, exist_ok=True)
        train.picture(i).save(inside / f"{i:05d}.{kind}")


def _cifar() -> tuple[object, tuple[str, ...]]:
    from sparsebp.data import open_dataset

    found = open_dataset(os.environ["SPARSEBP_DATA"])
    return found.train, found.classes
