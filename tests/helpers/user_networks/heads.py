"""Other ends than logits: several outputs, embeddings, probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .mobile import mobilenet, tiny


class TwoHeads(nn.Module):
    """Classes, and a box."""

    def __init__(self) -> None:
        super().__init__()
        self.features = tiny().features
        self.classes, self.box = nn.Linear(64, 10), nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.features(x).mean((2, 3))
        return self.classes(x), self.box(x)


class Ssd(nn.Module):
    """Boxes and scores of two levels, flattened and put one behind the other."""

    def __init__(self, classes: int = 4, anchors: int = 2) -> None:
        super().__init__()
        self.classes = classes
        features = mobilenet().features
        self.near, self.far = features[:4], features[4:6]
        self.scores = nn.ModuleList(nn.Conv2d(c, anchors * classes, 3, padding=1) for c in (16, 16))
        self.boxes = nn.ModuleList(nn.Conv2d(c, anchors * 4, 3, padding=1) for c in (16, 16))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        near = self.near(x)
        levels = (near, self.far(near))
        scores = [head(x).permute(0, 2, 3, 1).flatten(1) for head, x in zip(self.scores, levels, strict=True)]
        boxes = [head(x).permute(0, 2, 3, 1).flatten(1) for head, x in zip(self.boxes, levels, strict=True)]
        n = x.shape[0]
        return torch.cat(scores, 1).view(n, -1, self.classes), torch.cat(boxes, 1).view(n, -1, 4)


class Embedding(nn.Module):
    """A direction instead of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.net(x), dim=1)


class Parts(nn.Module):
    """A dictionary of outputs, as torchvision's segmentation networks return."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mask, self.depth = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 2, 1), nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = F.relu(self.stem(x))
        mask = F.interpolate(self.mask(y), size=x.shape[-2:], mode="bilinear", align_corners=False)
        return {"mask": mask, "depth": F.softplus(self.depth(y))}


NETWORKS = {
    "classify and regress": (TwoHeads, (3, 32, 32)),
    "SSD head": (Ssd, (3, 32, 32)),
    "embedding, F.normalize": (Embedding, (3, 32, 32)),
    "sigmoid, many labels": (lambda: nn.Sequential(tiny(), nn.Sigmoid()), (3, 32, 32)),
    "a dictionary of outputs": (Parts, (3, 32, 32)),
}
