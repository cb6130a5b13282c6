"""Runs of networks that do not end in logits: log_softmax is as good, of anything else cross-entropy is no loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import sparsebp
import torch
from runs import finetune, names, network
from torch import nn
from training import assert_same, everything


class Ending(nn.Module):
    """A network and what comes after it."""

    def __init__(self, end: nn.Module) -> None:
        super().__init__()
        self.network, self.end = network(), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.network(x))


class Twice(nn.Module):
    """Returns two tensors."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x.tanh()


def test_log_softmax_trains_to_the_same_bits_as_logits(tmp_path: Path) -> None:
    logits, logs = Ending(nn.Identity()), Ending(nn.LogSoftmax(1))
    results = [finetune(tmp_path / name, net) for name, net in (("logits", logits), ("logs", logs))]
    for name, tensor in logits.state_dict().items():
        assert torch.equal(tensor, logs.state_dict()[name]), name
    assert results[0].accuracy == results[1].accuracy
    ends = [result.history.epochs[-1] for result in results]
    assert ends[1].test_loss == pytest.approx(ends[0].test_loss, rel=1e-6)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (nn.Softmax(1), r"softmax|Softmax \(1\)"),
        (Twice(), "ends in several tensors"),
        (nn.Sigmoid(), "ends in Sigmoid"),
    ],
    ids=["softmax", "several tensors", "sigmoid"],
)
def test_anything_else_is_refused_with_the_reason(end: nn.Module, words: str, tmp_path: Path) -> None:
    net = Ending(end)
    before = everything(net)
    with pytest.raises(sparsebp.UnsupportedModel, match=rf"the loss is cross-entropy of logits, .*({words})"):
        finetune(tmp_path / "run", net)
    assert_same(everything(net), before)
    assert not (tmp_path / "run").exists() or names(tmp_path / "run") == set()
