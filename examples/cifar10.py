"""Fine-tune an ImageNet MobileNetV2 on CIFAR-10 inside 256 KB of training memory.

python examples/cifar10.py --data DIR --weights mobilenet_v2_imagenet.pt
DIR holds cifar10_train.npz and cifar10_test.npz: jpeg (all files end to end), offsets, labels.
"""

import io
import time
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image
from rich.progress import track
from torch.nn.functional import cross_entropy

import sparsebp


def load(file: Path, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `count` images as uint8 [N, 3, size, size], and their labels."""
    data, images = np.load(file), torch.empty(count, 3, size, size, dtype=torch.uint8)
    jpeg, offsets = data["jpeg"].tobytes(), data["offsets"]
    for i in track(range(count), f"decoding {file.name}"):
        image = Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]])).convert("RGB")
        images[i] = torch.from_numpy(np.array(image.resize((size, size), Image.Resampling.BILINEAR))).permute(2, 0, 1)
    return images, torch.from_numpy(data["labels"][:count].astype(np.int64))


def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    hits = [(model(x / 127.5 - 1).argmax(1) == y).sum() for x, y in zip(images.split(50), labels.split(50), strict=True)]
    model.train()
    return float(sum(hits)) / len(labels)


def main(data: Path, weights: Path, budget: str = "256KB", size: int = 128, train: int = 10_000, test: int = 2_000,
         epochs: int = 1, batch: int = 16, lr: float = 0.02, classifier_lr: float = 0.002, ratio: float = 0.02,
         classifier_only: bool = False, seed: int = 0) -> None:  # fmt: skip
    torch.manual_seed(seed)
    model = sparsebp.models.mobilenet_v2(1000)
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.classifier[1] = torch.nn.Linear(1280, 10)
    (x, y), (tx, ty) = load(data / "cifar10_train.npz", train, size), load(data / "cifar10_test.npz", test, size)

    model = sparsebp.convert(model, budget, input_size=(3, size, size), max_update_ratio=ratio, seed=seed)
    head = list(model.classifier.parameters())
    body = [p for p in model.trained_parameters() if all(p is not h for h in head)]
    groups = [{"params": head, "lr": classifier_lr}] + ([] if classifier_only else [{"params": body}])
    opt = sparsebp.optim.SGD(groups, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs * (train // batch))
    start = time.time()
    for epoch in range(epochs):
        for rows in track(torch.randperm(train)[: train // batch * batch].split(batch), f"epoch {epoch + 1}"):
            sparsebp.fit_step(model, opt, x[rows] / 127.5 - 1, y[rows], cross_entropy)
            schedule.step()
        print(f"epoch {epoch + 1}: test accuracy {accuracy(model, tx, ty):.1%} after {time.time() - start:.0f} s")
    audit = sparsebp.audit(model, tx[:1] / 127.5 - 1, ty[:1])
    print(f"{len(model.plan.layers)} layers from {model.plan.layers[0].name}, {model.plan.update_ratio:.2%} a step, "
          f"{model.coverage().total:.1%} of their weights visited")  # fmt: skip
    print(f"training memory: predicted {model.plan.peak_bytes:,}, measured {model.arena.peak:,} of "
          f"{model.arena.capacity:,} bytes; outside the arena {audit.outside_bytes:,} bytes")  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
