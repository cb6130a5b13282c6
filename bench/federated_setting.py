"""What all ways of a federated experiment share: pictures, their division among clients, and the plan."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import sparsebp
import torch
from sparsebp.data import Preprocess, open_dataset
from sparsebp.data.sources import Source
from sparsebp.federated import Examples
from sparsebp.federated.partition import dirichlet
from sparsebp.runtime import Session


@dataclass(frozen=True)
class Setting:
    """What results depend on, beside the way.

    Attributes:
        clients: machines.
        alpha: of the Dirichlet distribution that divides the classes among them.
        rounds, epochs: epochs are of each round.
        train, test: pictures, the first of the training and of the test set.
        side: pixels.
        lr: learning rate of 16 pictures.
        seed: of division, classifier and channels.
    """

    clients: int = 8
    alpha: float = 0.5
    rounds: int = 10
    epochs: int = 1
    train: int = 4000
    test: int = 2000
    side: int = 97
    lr: float = 0.0003
    seed: int = 0

    @property
    def identity(self) -> str:
        """A digest of all of it."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


class Shared:
    """Plans and features, made once and kept in a folder.

    Args:
        setting: what for.
        data, weights: as ``sparsebp finetune`` takes them.
        folder: where they are kept.
    """

    def __init__(self, setting: Setting, data: Path, weights: Path, folder: Path) -> None:
        self._folder, self._weights = folder / f"shared-{setting.identity}", weights
        self._folder.mkdir(parents=True, exist_ok=True)
        found = open_dataset(data)
        self._classes = list(found.classes)
        self.labels = np.asarray(found.train.labels[: setting.train])
        self.test_labels = np.asarray(found.test.labels[: setting.test])
        self.parts = dirichlet(self.labels, setting.clients, alpha=setting.alpha, seed=setting.seed, least=50)
        session = Session(self.plan(setting))
        self._train = self._features("train", session, found.train, setting.train)
        self._test = self._features("test", session, found.test, setting.test)

    def plan(self, setting: Setting, classifier_alone: bool = False) -> Path:
        """The plan file that all clients begin with: ImageNet's network, its classifier new."""
        file = self._folder / ("classifier.safetensors" if classifier_alone else "plan.safetensors")
        if file.exists():
            return file
        torch.manual_seed(setting.seed)
        net = sparsebp.models.mobilenet_v2(len(self._classes))
        sparsebp.load_weights(net, self._weights)
        size = (3, setting.side, setting.side)
        model = sparsebp.convert(
            net, "256KB", input_size=size, max_update_ratio=0.02, normalise=True, seed=setting.seed
        )
        rates = (
            {"lr": 0.0, "bias_lr": 0.0, "classifier_lr": 2.5 * setting.lr} if classifier_alone else {"lr": setting.lr}
        )
        sparsebp.export(model, file, classes=self._classes, preprocess=_preprocess(setting.side), **rates)
        return file

    def examples(self, part: np.ndarray) -> Examples:
        """Of a client that has these pictures."""
        return Examples(self._train[part], self.labels[part], features=True)

    def accuracy(self, session: Session) -> float:
        """Share of the test pictures that are recognised."""
        correct = 0
        for first in range(0, len(self.test_labels), 100):
            rows = slice(first, first + 100)
            correct += session.evaluate_features(self._test[rows], self.test_labels[rows]).correct
        return correct / len(self.test_labels)

    def _features(self, name: str, session: Session, source: Source, count: int) -> np.ndarray:
        """What the frozen prefix makes of the first pictures."""
        file, preprocess = self._folder / f"{name}.npy", Preprocess.from_dict(session.metadata["preprocess"])
        if not file.exists():
            made = [session.features(preprocess.fit(source.picture(i))[None]) for i in range(count)]
            np.save(self._folder / "part.npy", np.concatenate(made))
            (self._folder / "part.npy").replace(file)
        return np.load(file, mmap_mode="r")


def _preprocess(side: int) -> Preprocess:
    return Preprocess((side, side), range=(-1, 1), mean=(0, 0, 0), std=(1, 1, 1))
