"""Weights of torchvision and timm as if they had been fetched: in the caches that these packages look into first."""

from __future__ import annotations

import hashlib
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch
from declared_ops import timm, torchvision
from torch import nn

MOBILENET_V3 = "mobilenetv3_small_050"


def seeded(make: object, seed: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()  # type: ignore[operator, no-any-return]


def fetched_by_torchvision(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights for 1,000 classes in torch's cache, which is ``home`` from now on."""
    monkeypatch.setenv("TORCH_HOME", str(home))
    state = seeded(lambda: torchvision.models.get_model(name)).state_dict()
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    file = home / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    return dict(state)


def fetched_by_timm(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights for 1,000 classes in Hugging Face's cache, which is ``home`` from now on; nothing is asked of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    state = seeded(lambda: timm.create_model(name)).state_dict()
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    place = home / f"models--{repository.replace('/', '--')}"
    revision = hashlib.sha1(repository.encode()).hexdigest()
    (place / "snapshots" / revision).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(revision)
    safetensors.torch.save_file(state, place / "snapshots" / revision / "model.safetensors")
    return dict(state)
