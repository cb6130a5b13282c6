"""What a training run writes beside its plan file, so that it can go on after a kill: ``OUT.run.json``.

How far the run is stands in the plan file itself, whose counter of batches is saved with the weights. Here stand the
things that do not change meanwhile: where it began, what it was asked to do, on which pictures.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..files import write_atomically

FORMAT = "sparsebp-run"
STARTING, RUNNING, DONE = "starting", "running", "done"


@dataclass
class RunFile:
    """A run.

    Attributes:
        path: of this file.
        plan: digest of the plan.
        begin: batches that the plan had seen when the run began.
        steps: of the whole run.
        settings: everything else that its result depends on.
        pictures: what tells the pictures from others.
        state: ``starting`` until OUT is the run's own, then ``running``, then ``done``.
        accuracy: of the held-out pictures, by the step after which it was measured: correct, of, loss.
    """

    path: Path
    plan: str
    begin: int
    steps: int
    settings: dict[str, Any]
    pictures: str
    state: str = STARTING
    accuracy: dict[str, list[float]] = field(default_factory=dict)

    def write(self) -> None:
        """Puts it on the disk, whole or not at all."""
        data = {key: value for key, value in asdict(self).items() if key != "path"}
        write_atomically(self.path, json.dumps({"format": FORMAT, "version": 1, **data}, indent=1).encode())

    @classmethod
    def read(cls, path: Path) -> RunFile:
        """What :meth:`write` wrote.

        Raises:
            ValueError: it is something else, or damaged.
        """
        try:
            data = json.loads(path.read_bytes())
            if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
                raise ValueError("it is no file of a training run")
            if data.pop("version", None) != 1:
                raise ValueError("a newer version wrote it; take a newer sparsebp-runtime")
            return cls(path=path, **{f.name: data[f.name] for f in fields(cls) if f.name != "path"})
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: {error}; remove it to begin anew") from error


def beside(out: Path) -> Path:
    """Where the run of a plan file is described."""
    return out.with_name(f"{out.name}.run.json")


def check_ended(out: Path) -> None:
    """Raises ValueError if ``out`` is of a run that has not ended: other training would change the bits of its end."""
    if out.exists() and beside(out).exists() and RunFile.read(beside(out)).state != DONE:
        raise ValueError(
            f"--out: {out} is of a run with --data that has not ended; end it, with --data and --resume, or begin anew "
            "with --overwrite without --resume"
        )
