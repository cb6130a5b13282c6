"""The examples that fine-tune a folder of pictures: the plain loop, and PyTorch Lightning's around the same steps."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import declared_ops  # noqa: F401 - torchmetrics, which Lightning imports, can import torchvision from here on
import pytest
import sparsebp
import torch
from networks import tiny_mobilenet
from test_training_loops import load
from torch.nn.functional import cross_entropy

LINES = 60


def memory(out: str) -> tuple[int, int]:
    """Bytes that training took, and might have taken."""
    peak, budget = re.search(r"memory: ([\d,]+) of ([\d,]+)", out).groups()
    return int(peak.replace(",", "")), int(budget.replace(",", ""))


def test_the_plain_loop_learns_a_folder(data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two passes over 245 small pictures of ants and bees: more than a coin knows."""
    example, weights = load("plain_loop"), data_root / "mobilenet_v2_imagenet.pt"
    assert len(Path(example.__file__).read_text().splitlines()) < LINES
    example.main(data_root / "ants_bees", str(weights), tmp_path / "trained.pt", size=96, epochs=2)
    out = capsys.readouterr().out
    assert float(re.findall(r"test accuracy ([\d.]+)%", out)[-1]) > 65
    peak, budget = memory(out)
    assert 0 < peak <= budget == 256 * 1024
    sparsebp.models.mobilenet_v2(2).load_state_dict(torch.load(tmp_path / "trained.pt", weights_only=True))


# -- Lightning ---------------------------------------------------------------------------------------


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(1, 3, 16, 16, generator=generator), torch.tensor([i % 10])) for i in range(count)]


@pytest.mark.filterwarnings("default")  # Lightning and torchmetrics warn of themselves
def test_lightning_trains_the_bits_that_a_plain_loop_trains(tmp_path: Path) -> None:
    """Also where a run goes on from its checkpoint."""
    lightning = pytest.importorskip("lightning", reason="lightning is not installed; it brings a dozen packages along")
    example, data = load("lightning_loop"), batches(12)

    def trainer(epochs: int) -> object:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return lightning.Trainer(max_epochs=epochs, accelerator="cpu", default_root_dir=tmp_path, **quiet)

    def module() -> object:
        return example.FineTuning(tiny_mobilenet(0), (16, 16), "16KB", lr=0.003, steps=24)

    whole, resumed, loader = module(), module(), torch.utils.data.DataLoader(data, batch_size=None)
    trainer(2).fit(whole, loader)
    half = trainer(1)
    half.fit(module(), loader)
    half.save_checkpoint(tmp_path / "half.ckpt")
    trainer(2).fit(resumed, loader, ckpt_path=tmp_path / "half.ckpt")

    model = sparsebp.convert(tiny_mobilenet(0), "16KB", input_size=(3, 16, 16), max_update_ratio=0.02, normalise=True)
    optimizer = sparsebp.optim.SGD(model.train(), lr=0.003, normalise=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 24)
    for x, y in itertools.chain(data, data):
        cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()
    for name, value in model.state_dict().items():
        assert torch.equal(whole.model.state_dict()[name], value), name
        assert torch.equal(resumed.model.state_dict()[name], value), f"{name}, after going on"
    assert not torch.equal(model.state_dict()["classifier.1.weight"], tiny_mobilenet(0).classifier[1].weight)


@pytest.mark.filterwarnings("default")
def test_lightning_learns_a_folder(data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed; it brings a dozen packages along")
    pictures, weights = data_root / "ants_bees", data_root / "mobilenet_v2_imagenet.pt"
    load("lightning_loop").main(pictures, str(weights), tmp_path / "run", size=96, epochs=2)
    out = capsys.readouterr().out
    assert float(re.search(r"test accuracy ([\d.]+)%", out)[1]) > 65
    peak, budget = memory(out)
    assert 0 < peak <= budget
    assert list((tmp_path / "run").glob("*.ckpt"))
    sparsebp.models.mobilenet_v2(2).load_state_dict(torch.load(tmp_path / "run" / "trained.pt", weights_only=True))
