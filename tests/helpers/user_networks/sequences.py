"""Networks of one dimension."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class M5(nn.Module):
    """Keywords from raw audio: torch's tutorial on speech commands."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(1, 16, 80, stride=16), nn.BatchNorm1d(16)
        self.conv2, self.bn2 = nn.Conv1d(16, 16, 3), nn.BatchNorm1d(16)
        self.conv3, self.bn3 = nn.Conv1d(16, 32, 3), nn.BatchNorm1d(32)
        self.pool = nn.MaxPool1d(4)
        self.fc1 = nn.Linear(32, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.pool(F.relu(self.bn2(self.conv2(x))))
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.avg_pool1d(x, x.shape[-1])
        x = x.permute(0, 2, 1)
        return F.log_softmax(self.fc1(x), dim=2).squeeze(1)


class Har(nn.Module):
    """Activities from accelerometers: the image of height 1 that the data set gives is squeezed."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(9, 16, 5, padding=2),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 5, padding=2, groups=2),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(32, 6),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.squeeze(2))


class Tcn(nn.Module):
    """Causal dilated convolutions, residual; the last moment decides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 16, 1)
        self.convs = nn.ModuleList(nn.Conv1d(16, 16, 3, dilation=d) for d in (1, 2, 4))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for conv in self.convs:
            x = x + F.relu(conv(F.pad(x, (2 * conv.dilation[0], 0))))
        return self.fc(x[:, :, -1])


def autoencoder() -> nn.Module:
    """Vibrations in, vibrations out."""
    return nn.Sequential(
        nn.Conv1d(3, 16, 7, 2, 3),
        nn.BatchNorm1d(16),
        nn.LeakyReLU(0.2),
        nn.Conv1d(16, 8, 5, 2, 2),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose1d(8, 16, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv1d(16, 3, 3, padding=1),
    )


NETWORKS = {
    "M5 audio, Conv1d": (M5, (1, 4000)),
    "HAR, x.squeeze": (Har, (9, 1, 64)),
    "TCN, causal": (Tcn, (4, 40)),
    "vibrations autoencoder, Conv1d": (autoencoder, (3, 64)),
}
