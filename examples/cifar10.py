"""Fine-tune an ImageNet MobileNetV2 on CIFAR-10 inside 256 KB: python examples/cifar10.py DATA WEIGHTS.

DATA holds cifar10_train.npz and cifar10_test.npz with `jpeg` (all files end to end), `offsets` and `labels`.
"""

import io
import time
from pathlib import Path

import numpy as np
import sparsebp
import torch
import typer
from PIL import Image
from rich.progress import track
from torch.nn.functional import cross_entropy


def load(file: Path, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `count` images as uint8 [N, 3, size, size], and their labels."""
    data, images = np.load(file), torch.empty(count, size, size, 3, dtype=torch.uint8)
    jpeg, offsets = data["jpeg"].tobytes(), data["offsets"]
    for i in track(range(count), f"decoding {file.name}"):
        image = Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]])).convert("RGB")
        images[i] = torch.from_numpy(np.array(image.resize((size, size), Image.Resampling.BILINEAR)))
    return images.permute(0, 3, 1, 2), torch.from_numpy(data["labels"][:count].astype(np.int64))


def main(data: Path, weights: Path, budget: str = "256KB", size: int = 129, train: int = 10_000, test: int = 2_000,
         epochs: int = 1, batch: int = 16, lr: float = 0.0003, bias_lr: float = 0.0015, classifier_lr: float = 0.00075,
         ratio: float = 0.02, classifier_only: bool = False, seed: int = 0) -> None:  # fmt: skip
    torch.manual_seed(seed)
    (x, y), (tx, ty) = load(data / "cifar10_train.npz", train, size), load(data / "cifar10_test.npz", test, size)
    model = sparsebp.models.mobilenet_v2(1000)
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.classifier[1] = torch.nn.Linear(1280, 10)
    model = sparsebp.convert(
        model, budget, input_size=(3, size, size), max_update_ratio=ratio, normalise=True, seed=seed
    ).train()
    *body, weight, bias = model.trained_parameters()  # the classifier comes last
    groups = [{"params": [weight, bias], "lr": classifier_lr}]
    if not classifier_only:  # shifts take larger steps than convolutions
        groups.append({"params": [p for p in body if p.dim() > 1]})
        groups.append({"params": [p for p in body if p.dim() == 1], "lr": bias_lr})
    opt = sparsebp.optim.SGD(groups, lr=lr, normalise=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs * (train // batch))
    start = time.time()
    for epoch in range(epochs):
        for rows in track(torch.randperm(train).split(batch)[: train // batch], f"epoch {epoch + 1}"):
            sparsebp.fit_step(model, opt, x[rows] / 127.5 - 1, y[rows], cross_entropy)
            schedule.step()
        with torch.no_grad():
            scores = torch.cat([model.eval()(part / 127.5 - 1) for part in tx.split(50)])
        print(f"test accuracy {(scores.argmax(1) == ty).double().mean():.1%} after {time.time() - start:.0f} s")
        model.train()
    plan, audit = model.plan, sparsebp.audit(model, tx[:1] / 127.5 - 1, ty[:1])
    print(f"{len(plan.layers)} layers from {plan.layers[0].name}, {plan.update_ratio:.2%} of the convolution weights")
    print(f"arena: predicted {plan.peak_bytes:,}, measured {model.arena.peak:,}, budget {plan.budget:,} bytes")
    print(f"outside the arena: {audit.outside_bytes:,} bytes; inference workspace: {plan.inference_bytes:,} bytes")


if __name__ == "__main__":
    typer.run(main)
