"""What is no path is refused by the name of its argument, by everything public that takes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sparsebp
from networks import tiny_mobilenet
from small_plans import small_plan
from sparsebp import data, runtime
from sparsebp.finetuning.export_run import export_run
from sparsebp.runtime.stop import StopRequest
from training import BUDGET, SIZE


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> runtime.Session:
    return runtime.Session(small_plan(tmp_path_factory.mktemp("plan") / "plan.safetensors"))


def network() -> Any:
    return tiny_mobilenet()


def converted() -> sparsebp.SparseModel:
    return sparsebp.convert(network(), BUDGET, input_size=SIZE)


CALLS: dict[str, tuple[str, Callable[[Any, runtime.Session], object]]] = {
    "load": ("weights", lambda path, _: sparsebp.load(path)),
    "load_weights": ("weights", lambda path, _: sparsebp.load_weights(network(), path)),
    "load_file": ("path", lambda path, _: sparsebp.load_file(path)),
    "finetune's out": ("out", lambda path, _: sparsebp.finetune(network(), "nowhere", out=path or 0)),
    "finetune's data": ("data", lambda path, _: sparsebp.finetune(network(), path)),
    "Plan.load": ("path", lambda path, _: sparsebp.Plan.load(path)),
    "Plan.save": ("path", lambda path, _: sparsebp.plan(network(), BUDGET, input_size=SIZE).save(path)),
    "export": ("path", lambda path, _: sparsebp.export(converted(), path, lr=0.1)),
    "export_onnx": ("path", lambda path, _: sparsebp.export_onnx(network(), path, input_size=SIZE)),
    "export_run's run": ("run", lambda path, _: export_run(path, "plan.safetensors")),
    "export_run's path": ("path", lambda path, _: export_run("run", path)),
    "open_dataset": ("path", lambda path, _: data.open_dataset(path)),
    "open_tests": ("path", lambda path, _: data.open_tests(path)),
    "Files' root": ("root", lambda path, _: data.Files(path, ["a.png"], [0])),
    "Files' paths": ("paths", lambda path, _: data.Files(".", [path], [0])),
    "Session": ("file", lambda path, _: runtime.Session(path)),
    "Session.save": ("path", lambda path, session: session.save(path)),
    "Session.save_delta": ("path", lambda path, session: session.save_delta(path)),
    "make_delta": ("new", lambda path, _: runtime.make_delta("base", path, "out")),
    "apply_delta": ("out", lambda path, _: runtime.apply_delta("base", "delta", path)),
    "Reservoir.open": ("path", lambda path, session: runtime.Reservoir.open(path, "1MB", session)),
    "watch's folder": ("folder", lambda path, session: runtime.watch(session, path, "out", stop=StopRequest())),
    "watch's out": ("out", lambda path, session: runtime.watch(session, "folder", path, stop=StopRequest())),
}


@pytest.mark.parametrize("value", [None, 5], ids=str)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_path(
    call: str, value: Any, session: runtime.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argument, use = CALLS[call]
    kind = type(0 if value is None and call == "finetune's out" else value).__name__  # None is no folder, as it may be
    with pytest.raises(TypeError, match=f"^{argument}: expected a path.*, got {kind}$"):
        use(value, session)
    assert list(tmp_path.iterdir()) == []
