"""Fine-tune a network on a folder of pictures, the loop written out: python examples/plain_loop.py PICTURES WEIGHTS.

PICTURES holds a folder per class, WEIGHTS is a file, or torchvision:mobilenet_v2 where torchvision is installed.
"""

import math
from pathlib import Path

import sparsebp
import torch
import typer
from sparsebp.data import Loader, open_dataset
from sparsebp.networks.pretrained import read_weights, usual_preprocess
from torch.nn.functional import cross_entropy


@torch.no_grad()
def accuracy(model: torch.nn.Module, loader: Loader) -> float:
    """Of a model in evaluation mode, over all pictures of a loader."""
    right = 0
    for batch in loader([range(i, min(i + 50, len(loader.source))) for i in range(0, len(loader.source), 50)]):
        scores = model.eval()(loader.preprocess.normalise(batch.images))
        right += int((scores.argmax(1) == batch.labels).sum())
    return right / len(loader.source)


def main(pictures: Path, weights: str, out: Path = Path("trained.pt"), budget: str = "256KB", size: int = 128,
         epochs: int = 5, batch: int = 16, lr: float = 0.0003, seed: int = 0) -> None:  # fmt: skip
    torch.manual_seed(seed)
    data, pretrained = open_dataset(pictures, seed=seed), read_weights(weights)
    preprocess = usual_preprocess(pretrained, (size, size))  # how these weights want their pictures
    train, test = Loader(data.train, preprocess, augment=["flip"], seed=seed), Loader(data.test, preprocess)
    network = sparsebp.models.mobilenet_v2(len(data.classes))
    print(sparsebp.load_weights(network, pretrained, data.classes).classifier)
    model = sparsebp.convert(
        network, budget, input_size=(3, size, size), max_update_ratio=0.02, normalise=True, seed=seed
    )
    opt = sparsebp.optim.SGD(model, lr=lr, normalise=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs * math.ceil(len(data.train) / batch))
    for epoch in range(epochs):
        model.train()
        losses = []
        for found in train(torch.randperm(len(data.train)).split(batch), epoch):
            x = preprocess.normalise(found.images)
            losses.append(sparsebp.fit_step(model, opt, x, found.labels, cross_entropy))
            schedule.step()
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}, test accuracy {accuracy(model, test):.1%}")
    print(f"training memory: {model.arena.peak:,} of {model.plan.budget:,} bytes")
    torch.save(sparsebp.restore(model).state_dict(), out)  # the original network's keys


if __name__ == "__main__":
    typer.run(main)
