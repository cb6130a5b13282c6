"""What training in a loop of one's own loads: neither torch's compiler and sympy nor the command line's libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from sparsebp.training.eager_optimizer import EagerOptimizer
from torch import nn

#: What nobody asked for, as far as torch itself does not load it.
HEAVY = (
    *("sympy", "mpmath", "torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "torchvision"),
    *("PIL", "typer", "rich", "sparsebp.cli", "sparsebp.data", "sparsebp.finetuning"),
)

STEP = """
import sparsebp, torch
from torch import nn
model = nn.Sequential(nn.Softsign(), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 16, 1),
                      nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 4))
model = sparsebp.convert(model, "64KB", input_size=(3, 16, 16))
opt = sparsebp.optim.SGD(model, lr=0.1)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10)
loss = nn.functional.cross_entropy(model(torch.randn(1, 3, 16, 16)), torch.tensor([1]))
loss.backward()
opt.step()
opt.zero_grad()
schedule.step()
"""
CHECKPOINT = "opt.load_state_dict(opt.state_dict())\nmodel.load_state_dict(model.state_dict())\n"
REST = """
sparsebp.min_budget(sparsebp.restore(model), input_size=(3, 16, 16))
sparsebp.explain(model.original, "64KB", input_size=(3, 16, 16))
"""


def loaded(script: str) -> set[str]:
    """Which of HEAVY a new process has loaded after ``script``."""
    script += f"\nimport sys\nprint(*sorted(set(sys.modules).intersection({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("script", [STEP, STEP + CHECKPOINT, STEP + REST], ids=["step", "checkpoint", "other calls"])
def test_nothing_heavy_is_loaded(script: str) -> None:
    assert loaded(script) <= loaded("import torch, torch.fx, torch.optim.lr_scheduler")


class Eager(EagerOptimizer):
    def __init__(self, params: list[nn.Parameter]) -> None:
        super().__init__(params, {"lr": 0.1})


def test_it_is_torchs_optimizer_in_everything_else() -> None:
    """Its own hooks, and methods that somebody else has put into torch's class, are called as ever."""
    called = []
    parameter = nn.Parameter(torch.ones(2))
    opt = Eager([parameter])
    opt.register_state_dict_pre_hook(lambda _: called.append("saving"))
    opt.register_load_state_dict_post_hook(lambda _: called.append("loaded"))
    opt.load_state_dict(opt.state_dict())
    assert called == ["saving", "loaded"]
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        opt.add_param_group({"params": [parameter]})
    parameter.grad = torch.ones(2)
    opt.zero_grad()
    assert parameter.grad is None
