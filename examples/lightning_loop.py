"""Fine-tune with PyTorch Lightning inside a byte budget: python examples/lightning_loop.py PICTURES WEIGHTS.

PICTURES holds a folder per class, WEIGHTS is a file, or torchvision:mobilenet_v2. Needs `pip install lightning`.
"""

from pathlib import Path

import lightning
import sparsebp
import torch
import typer
from lightning.pytorch.callbacks import ModelCheckpoint
from sparsebp.data import Preprocess, Source, open_dataset
from sparsebp.networks.pretrained import read_weights, usual_preprocess
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader


class FineTuning(lightning.LightningModule):
    """A network that trains inside a budget, one picture a step: batches of `DataLoader(..., batch_size=1)`.

    Optimisation is manual. `backward` is the update already, so nothing may scale, clip or pile up gradients between it
    and `step`: Trainer's `precision`, `gradient_clip_val` and `accumulate_grad_batches` stay as they are.
    """

    def __init__(self, network: torch.nn.Module, size: tuple[int, int], budget: str, lr: float, steps: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.lr, self.steps = lr, steps
        self.model = sparsebp.convert(network, budget, input_size=(3, *size), max_update_ratio=0.02, normalise=True)

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        opt = sparsebp.optim.SGD(self.model, lr=self.lr, normalise=True)
        return [opt], [torch.optim.lr_scheduler.CosineAnnealingLR(opt, self.steps)]

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        x, y = batch
        opt = self.optimizers()
        loss = cross_entropy(self.model(x), y)
        self.manual_backward(loss)  # the update happens here
        opt.step()  # the next channels are drawn
        opt.zero_grad()
        self.lr_schedulers().step()
        self.log("loss", loss, on_epoch=True, prog_bar=True)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        x, y = batch
        self.log("accuracy", (self.model(x).argmax(1) == y).double().mean(), prog_bar=True, batch_size=len(y))


class Pictures(torch.utils.data.Dataset):
    """Pictures as the network wants them, and their labels."""

    def __init__(self, source: Source, preprocess: Preprocess) -> None:
        self.source, self.preprocess = source, preprocess

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = torch.from_numpy(self.preprocess.fit(self.source.picture(index)))
        return self.preprocess.normalise(pixels[None])[0], int(self.source.labels[index])


def main(pictures: Path, weights: str, out: Path = Path("lightning-run"), budget: str = "256KB", size: int = 128,
         epochs: int = 5, lr: float = 0.0001, seed: int = 0, threads: int = 0) -> None:  # fmt: skip
    lightning.seed_everything(seed)
    data, pretrained = open_dataset(pictures, seed=seed), read_weights(weights)
    preprocess = usual_preprocess(pretrained, (size, size))  # how these weights want their pictures
    network = sparsebp.models.mobilenet_v2(len(data.classes))
    sparsebp.load_weights(network, pretrained, data.classes)
    train = DataLoader(Pictures(data.train, preprocess), batch_size=1, shuffle=True, num_workers=threads)
    test = DataLoader(Pictures(data.test, preprocess), batch_size=50, num_workers=threads)
    module = FineTuning(network, (size, size), budget, lr, epochs * len(train))
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, default_root_dir=out,
        callbacks=[ModelCheckpoint(out, monitor="accuracy", mode="max")],
    )  # fmt: skip
    trainer.fit(module, train, test)
    print(f"test accuracy {float(trainer.callback_metrics['accuracy']):.1%}")
    print(f"training memory: {module.model.arena.peak:,} of {module.model.plan.budget:,} bytes")
    torch.save(sparsebp.restore(module.model).state_dict(), out / "trained.pt")  # the original network's keys


if __name__ == "__main__":
    typer.run(main)
