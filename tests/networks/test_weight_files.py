"""Files of weights: read without executing anything, or refused with a reason."""

from __future__ import annotations

import os
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from networks import tiny_mobilenet
from sparsebp.networks.pretrained import (
    load_pretrained,
    read_weights,
)
from weights import State, assert_equal, state


def saved(folder: Path, content: Any, name: str = "weights.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


WRAPPED: dict[str, Callable[[State], Any]] = {
    "a state dict": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "best": 0.7},
    "model": lambda s: {"model": s, "optimizer": {"state": {}}, "args": {"lr": 0.1}},
    "model_state_dict": lambda s: {"model_state_dict": s},
    "DataParallel": lambda s: {f"module.{name}": t for name, t in s.items()},
    "DataParallel in a checkpoint": lambda s: {"state_dict": {f"module.{name}": t for name, t in s.items()}},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_torch_file_is_read_however_its_weights_are_wrapped(kind: str, tmp_path: Path) -> None:
    found, model = read_weights(saved(tmp_path, WRAPPED[kind](state(1)))), tiny_mobilenet(0)
    load_pretrained(model, found)
    assert_equal(dict(model.state_dict()), state(1))
    assert found.metadata == {}


def test_old_torch_files_are_read(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_equal(read_weights(str(tmp_path / "old.pth")).tensors, state())


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(state(), tmp_path / "weights.safetensors", {"format": "pt"})
    found = read_weights(tmp_path / "weights.safetensors")
    assert {n: t.tolist() for n, t in found.tensors.items()} == {n: t.tolist() for n, t in state().items()}
    assert found.metadata == {}


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights: no such file: .*none\.pt"):
        read_weights(tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r"is a folder; expected a \.safetensors or \.pt file"):
        read_weights(tmp_path)


NO_WEIGHTS: dict[str, Any] = {
    "a tensor": torch.zeros(3),
    "a list": [torch.zeros(3)],
    "numbers": {"epoch": 3, "lr": 0.1},
    "numbered": {1: torch.zeros(3)},
    "nothing": {},
}


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_a_file_of_something_else_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights\.pt holds no "):
        read_weights(saved(tmp_path, NO_WEIGHTS[kind]))


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def as_torch(content: Any, file: Path) -> None:
    torch.save(content, file)


def as_old_torch(content: Any, file: Path) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=False)


def as_pickle(content: Any, file: Path) -> None:
    file.write_bytes(pickle.dumps(content, 2))


@pytest.mark.parametrize("write", [as_torch, as_old_torch, as_pickle])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_code_in_a_file_is_refused_and_never_executed(
    write: Callable[[Any, Path], None], name: str, tmp_path: Path
) -> None:
    write({"weight": torch.zeros(3), "more": Payload(tmp_path / "executed")}, tmp_path / name)
    with pytest.raises(ValueError, match=name):
        read_weights(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_a_whole_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Save model\.state_dict\(\) instead of the model"):
        read_weights(saved(tmp_path, tiny_mobilenet()))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["weights.pt", "old.pt", "weights.safetensors"])
def test_damage_is_a_value_error_that_names_the_file(name: str, tmp_path: Path) -> None:
    """Whatever byte is wrong, wherever the file ends. (A changed weight cannot be noticed without a checksum.)"""
    file, small = tmp_path / name, {"conv.weight": torch.arange(6.0), "conv.bias": torch.ones(2)}
    if name.endswith("safetensors"):
        safetensors.torch.save_file(small, file)
    else:
        torch.save(small, file, _use_new_zipfile_serialization=name != "old.pt")
    data, chance = file.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(data)
        if chance.random() < 0.3:
            del damaged[chance.randrange(len(data)) :]
        else:
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(data))] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            read_weights(file)
        except ValueError as error:
            assert str(file) in str(error)  # noqa: PT017 - most damage is found, not all of it can be


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", bytes(100), struct.pack("<Q", 2**60), b"<html>" * 50])
def test_what_is_no_file_of_weights_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"weights: .*{name} is "):
        read_weights(tmp_path / name)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    file = saved(tmp_path, state())
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(ValueError, match=r"weights\.pt cannot be read: Permission denied"):
        read_weights(file)
