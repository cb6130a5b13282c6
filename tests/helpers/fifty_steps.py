"""Fifty training steps of a MobileNetV2 inside 256 KB: what two processors are compared by.

    python tests/helpers/fifty_steps.py OUT.safetensors [--weights mobilenet_v2_imagenet.pt]

Nothing in it depends on the processor but sparsebp: pictures and weights come from numpy's generator, and the loss is
taken in float64, whose last bits a float32 gradient does not see.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from math import prod
from pathlib import Path

import numpy as np
import sparsebp
import torch
from safetensors.torch import save_file
from sparsebp.networks.mobilenet_v2 import mobilenet_v2
from sparsebp.networks.pretrained import load_pretrained, read_weights
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

STEPS, SIDE, CLASSES = 50, 96, 10


def network(weights: Path | None, classes: int = CLASSES) -> nn.Module:
    """A MobileNetV2 with the same bits everywhere: pretrained, or drawn."""
    model = mobilenet_v2(classes)
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                drawn = generator.standard_normal(parameter.shape) * (2 / prod(parameter.shape[1:])) ** 0.5
                parameter.copy_(torch.from_numpy(drawn))
        if weights is not None:
            classifier = [parameter.clone() for parameter in model.classifier.parameters()]
            load_pretrained(model, read_weights(weights))
            for parameter, drawn in zip(model.classifier.parameters(), classifier, strict=True):
                parameter.copy_(drawn)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def train(weights: Path | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """Trains; returns all weights before and after, and every byte of the plan as JSON."""
    model = sparsebp.convert(network(weights), "256KB", input_size=(3, SIDE, SIDE), max_update_ratio=0.02, seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = sparsebp.optim.SGD(model, lr=0.001)
    generator = np.random.default_rng(1)
    model.train()
    for step in range(STEPS):
        picture = generator.integers(-512, 512, (1, 3, SIDE, SIDE)) / 256
        logits = model(torch.from_numpy(picture).float())
        cross_entropy(logits.double(), torch.tensor([step % CLASSES])).backward()
        optimizer.step()
        optimizer.zero_grad()
    plan = json.dumps([model.plan.to_dict(), [asdict(buffer) for buffer in model.plan.buffers]], sort_keys=True)
    return before, {name: value.clone() for name, value in model.state_dict().items()}, plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    _, after, plan = train(args.weights)
    tensors = {name: value.contiguous() for name, value in after.items() if isinstance(value, Tensor)}
    save_file(tensors, args.out, {"plan": plan})


if __name__ == "__main__":
    main()
