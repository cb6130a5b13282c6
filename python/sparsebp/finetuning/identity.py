"""Whether a checkpoint belongs to the run that would go on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import Dataset, Preprocess
from ..data.combined import has_keys
from ..data.dataset import listed
from ..data.folders import spelt
from .checkpoint import ORDER, Checkpoint, CheckpointError, OtherSettingError
from .settings import Settings


class Identity:
    """What a run is known by: its settings, and its pictures.

    Args:
        settings: of the run.
        preprocess: how pictures become input.
        dataset: the pictures.
    """

    def __init__(self, settings: Settings, preprocess: Preprocess, dataset: Dataset) -> None:
        self._named = has_keys(dataset.train)
        self.facts: dict[str, dict[str, Any]] = {
            "settings": {**settings.to_dict(), "preprocess": preprocess.to_dict()},
            "data": {
                "classes": list(dataset.classes),
                "train": dataset.train.fingerprint(),
                "test": dataset.test.fingerprint(),
            },
        }

    def settle(self, settings: Settings) -> None:
        """The settings have become others; pictures become input as before."""
        preprocess = self.facts["settings"]["preprocess"]
        self.facts["settings"] = {**settings.to_dict(), "preprocess": preprocess}

    def compare(self, checkpoint: Checkpoint, path: Path) -> bool:
        """Whether the pictures are the same, bit by bit; others may be gone on with if they are known by their names.

        Raises:
            CheckpointError: it is of another run; the message says what differs.
        """
        own = json.loads(json.dumps(self.facts))
        saved: dict[str, dict[str, Any]] = {}
        for part in own:
            values = checkpoint.facts.get(part)
            if not isinstance(values, dict):
                raise CheckpointError(f"{path}: damaged, it has no {part}")
            saved[part] = values
        by_name = self._named and ORDER in checkpoint.training
        for key, now in own["settings"].items():
            before = saved["settings"].get(key, _YOUNGER.get(key))
            if before != now and not (key == "preprocess" and by_name and _only_levels_joined(before, now)):
                raise OtherSettingError(path, key, before, now)
        _compare_classes(saved["data"].get("classes"), own["data"]["classes"], path)
        changed = [key for key in ("train", "test") if saved["data"].get(key) != own["data"][key]]
        if changed and not by_name:
            why = "; an earlier sparsebp began it, and did not note which pictures there were" if self._named else ""
            raise CheckpointError(f"{path}: it was made with other data: {changed[0]} differs{why}")
        return not changed


#: Settings that older checkpoints do not have; how these runs sum gradients is part of their plan.
_YOUNGER = {
    name: getattr(Settings, name)
    for name in (
        "gradients",
        "scope",
        "pictures",
        "saved_bits",
        "aux",
        "activation_bits",
        "balance",
        "keep",
        "patience",
        "average",
        "rest",
    )
}


def _only_levels_joined(before: Any, now: Mapping[str, Any]) -> bool:
    """Whether all that is new is what suits pictures of more than 8 bits, of which there were none before."""
    rest = {key: value for key, value in now.items() if key != "levels"}
    return bool(before == rest and not now["levels"][-1])


def _compare_classes(before: Any, now: list[str], path: Path) -> None:
    if not isinstance(before, list):
        raise CheckpointError(f"{path}: damaged, it has no classes")
    before = [spelt(str(name)) for name in before]
    if before == [spelt(name) for name in now]:
        return
    new = [name for name in now if spelt(name) not in before]
    gone = [name for name in before if name not in map(spelt, now)]
    parts = [f"{what} {listed(names)}" for what, names in (("new:", new), ("gone:", gone)) if names]
    raise CheckpointError(
        f"{path}: it was made with other data: classes differs ({'; '.join(parts) or 'their order'}). A run keeps its "
        "classes; start another one from its weights"
    )
