"""Fine-tune a network on several machines or processes, in a loop of one's own:

torchrun --nproc-per-node 2 examples/data_parallel.py PICTURES WEIGHTS

Every process makes the same model, takes its part of every batch, and ends with the same weights. PICTURES holds a
folder per class, WEIGHTS is a file, or torchvision:mobilenet_v2 where torchvision is installed.
"""

import math
from pathlib import Path

import sparsebp
import torch
import typer
from sparsebp.data import Loader, open_dataset
from sparsebp.distributed import DataParallel, join
from sparsebp.networks.pretrained import read_weights, usual_preprocess
from torch.nn.functional import cross_entropy


def main(pictures: Path, weights: str, out: Path = Path("trained.pt"), budget: str = "512KB", size: int = 128,
         epochs: int = 5, batch: int = 16, lr: float = 0.0003, seed: int = 0) -> None:  # fmt: skip
    torch.manual_seed(seed)  # of what the model is made with: the same on every rank
    data, pretrained = open_dataset(pictures, seed=seed), read_weights(weights)
    preprocess = usual_preprocess(pretrained, (size, size))  # how these weights want their pictures
    train = Loader(data.train, preprocess, augment=["flip"], seed=seed)
    with join() as ranks:  # torch.distributed.init_process_group, and the way out
        network = sparsebp.models.mobilenet_v2(len(data.classes))
        sparsebp.load_weights(network, pretrained, data.classes)
        model = sparsebp.convert(
            network, budget, input_size=(3, size, size), max_update_ratio=0.02, normalise=True, seed=seed,
            gradients="sum",  # to be added up before they are applied
        ).train()  # fmt: skip
        opt = sparsebp.optim.SGD(model, lr=lr, normalise=True)
        parallel = DataParallel(model, opt, ranks)  # from here on opt.step() adds up all ranks' gradients
        steps = epochs * math.ceil(len(data.train) / batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
        order = torch.Generator().manual_seed(seed)  # likewise
        for epoch in range(epochs):
            batches = torch.randperm(len(data.train), generator=order).split(batch)
            for found in train([ranks.shard.of(whole.tolist()) for whole in batches], epoch):
                if len(found.labels):  # a rank without pictures only takes the step
                    x = preprocess.normalise(found.images)
                    sparsebp.fit_step(model, opt, x, found.labels, cross_entropy, finish=False)
                opt.step()
                opt.zero_grad()
                schedule.step()
            if ranks.first:
                print(f"epoch {epoch + 1}: {parallel.traffic.sent:,} bytes sent by each of {ranks.size} ranks")
        parallel.close()
        if ranks.first:
            print(f"a step exchanges {parallel.traffic.step:,} bytes, {parallel.traffic.share:.1%} of a dense one")
            print(f"training memory: {model.arena.peak:,} of {model.plan.budget:,} bytes")
            torch.save(sparsebp.restore(model).state_dict(), out)  # the original network's keys


if __name__ == "__main__":
    typer.run(main)
