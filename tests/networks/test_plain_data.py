"""What stands beside weights in a checkpoint: plain data is passed over unmade, anything else is refused by name."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import functools
import os
import pathlib
import pickle
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import tiny_mobilenet
from sparsebp import load_weights
from sparsebp.networks.inert_pickles import Inert, plain_data
from sparsebp.networks.pretrained import read_weights
from torch import nn

PLAIN: dict[str, Callable[[], Any]] = {
    "settings": lambda: argparse.Namespace(lr=0.1, data=pathlib.Path("/pictures"), sizes=(3, 4)),
    "a simple namespace": lambda: types.SimpleNamespace(lr=0.1),
    "a NumPy number": lambda: np.float64(0.9),
    "NumPy numbers": lambda: [np.float32(1), np.int64(2), np.bool_(True), np.str_("a"), np.datetime64("2026-01-01")],
    "an array": lambda: np.arange(6.0).reshape(2, 3),
    "an array of objects": lambda: np.array([None, "a"], dtype=object),
    "types": lambda: [np.float32, np.dtype("int8"), float, torch.float16, torch.Size([1]), torch.device("cpu")],
    "a time": lambda: [datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(1)],
    "paths": lambda: [pathlib.Path("a"), pathlib.PurePosixPath("b"), pathlib.PureWindowsPath("c")],
    "dicts": lambda: [collections.OrderedDict(a=1), collections.Counter("aab"), collections.defaultdict(list, a=[1])],
    "a queue": lambda: collections.deque([1, 2], 3),
    "sets": lambda: [{1, 2}, frozenset({3}), slice(1, 2), range(3)],
    "exact numbers": lambda: [decimal.Decimal("0.1"), 1j, 2**100],
    "a name": lambda: uuid.UUID(int=1),
    "torch's version": lambda: torch.__version__,
    "states of generators": lambda: [np.random.default_rng(0).bit_generator.state, np.random.get_state()],
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", PLAIN)
def test_plain_data_beside_weights_is_passed_over(kind: str, zipped: bool, tmp_path: Path) -> None:
    expected, file = tiny_mobilenet(1).state_dict(), tmp_path / "w.pt"
    torch.save({"beside": PLAIN[kind](), "model": expected}, file, _use_new_zipfile_serialization=zipped)
    model = tiny_mobilenet(0)
    load_weights(model, file)
    assert all(torch.equal(t, expected[name]) for name, t in model.state_dict().items())


def test_files_of_numpy_1_and_2_are_read(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save({"best": np.float64(0.5), "a": np.ones(2)}, file, _use_new_zipfile_serialization=False)
    data = file.read_bytes()
    for module in (b"numpy.core", b"numpy._core"):
        file.write_bytes(data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", module))
        assert torch.equal(read_weights(file).tensors["a"], torch.ones(2, dtype=torch.float64))


def test_none_of_it_is_made(tmp_path: Path) -> None:
    content = {"args": argparse.Namespace(lr=0.1), "when": datetime.date(2026, 1, 1), "best": np.float64(0.5)}
    torch.save(content, tmp_path / "w.pt")
    with plain_data():
        found = torch.load(tmp_path / "w.pt", weights_only=True)
    assert all(isinstance(value, Inert) for value in found.values())
    assert found["args"].state == {"lr": 0.1}
    with pytest.raises(pickle.UnpicklingError):  # what torch allows by itself is as before
        torch.load(tmp_path / "w.pt", weights_only=True)


ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as they are": lambda a: a,
    "by columns": lambda a: np.array(a, order="F"),
    "the other way round": lambda a: a.astype(a.dtype.newbyteorder()),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_weights_may_be_arrays(kind: str, tmp_path: Path) -> None:
    expected, model = tiny_mobilenet(1).state_dict(), tiny_mobilenet(0)
    torch.save({"params": {name: ARRAYS[kind](t.numpy()) for name, t in expected.items()}}, tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    assert all(torch.equal(t, expected[name]) for name, t in model.state_dict().items())


# -- what is refused -------------------------------------------------------------------------------------


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


class Settings:
    pass


CODE: dict[str, tuple[Callable[[str], Any], str]] = {
    "a shell": (lambda mark: Calls(os.system, f"touch {mark}"), r"\w+\.system"),
    "a folder": (lambda mark: Calls(os.mkdir, mark), r"\w+\.mkdir"),
    "evaluation": (lambda mark: Calls(eval, f"open({mark!r}, 'w')"), "eval"),
    "an attribute": (lambda mark: Calls(getattr, [], "append"), "getattr"),
    "a call to be made": (lambda mark: functools.partial(os.mkdir, mark), r"functools\.partial"),
    "somebody's class": (lambda mark: Settings(), r"test_plain_data\.Settings"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", CODE)
def test_code_is_refused_by_name_and_not_executed(kind: str, zipped: bool, tmp_path: Path) -> None:
    make, name = CODE[kind]
    mark, file = tmp_path / "executed", tmp_path / "w.pt"
    content = {"model": tiny_mobilenet(1).state_dict(), "args": argparse.Namespace(more=make(str(mark)))}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"w\.pt is refused: it asks for {name}, .*nothing was executed.*state_dict"):
        read_weights(file)
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m, "epoch": 3}], ids=["bare", "in a checkpoint"])
def test_a_whole_module_is_refused_with_what_to_save(
    wrap: Callable[[nn.Module], Any], zipped: bool, tmp_path: Path
) -> None:
    torch.save(wrap(tiny_mobilenet()), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    what = (
        r"it holds a whole module, sparsebp\.networks\.mobilenet_v2\.MobileNetV2, "
        r".*torch\.save\(model\.state_dict\(\), 'weights\.pt'\)"
    )
    with pytest.raises(ValueError, match=what):
        read_weights(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_is_refused_with_what_to_save(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 3), torch.ones(1, 2)).save(tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt is a TorchScript archive, .*torch\.save\(model\.state_dict\(\)"):
        read_weights(tmp_path / "w.pt")


def test_another_protocol_is_named_as_the_reason(tmp_path: Path) -> None:
    torch.save(tiny_mobilenet().state_dict(), tmp_path / "w.pt", pickle_protocol=4)
    with pytest.raises(ValueError, match=r"another pickle_protocol than torch\.save's own"):
        read_weights(tmp_path / "w.pt")
