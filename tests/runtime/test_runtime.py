"""Plan files train without torch, and give the bits that the loop through autograd gives."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import sparsebp
import torch
from networks import batch, conv_norm, tiny_mobilenet
from sessions import PICTURES, assert_same_weights, pictures, trained
from sparsebp.runtime import Session
from torch import nn
from torch.nn.functional import cross_entropy
from training import SIZE, one_thread  # noqa: F401

STEPS = 12

#: Of convert, of the optimizer, and the images of a step.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "plain": ({}, {}, 1),
    "normalised": ({"normalise": True}, {"normalise": True}, 1),
    "momentum and decay": ({"momentum": True, "resample_every": 4}, {"momentum": 0.9, "weight_decay": 0.01}, 1),
    "importance": ({"sampler": "importance"}, {}, 1),
    "cyclic": ({"sampler": "cyclic", "seed": 5}, {}, 1),
    "static": ({"sampler": "static"}, {}, 1),
    "micro-batches": ({"batch_size": 2}, {}, 5),
    "sums": ({"batch_size": 2, "gradients": "sum", "momentum": True}, {"momentum": 0.5}, 5),
}


def loss_of(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(output.double(), labels)


def by_autograd(model: sparsebp.SparseModel, opt: sparsebp.optim.SGD, images: np.ndarray, labels: np.ndarray) -> float:
    x, y = PICTURES.normalise(torch.from_numpy(images)), torch.from_numpy(labels)
    return sparsebp.fit_step(model, opt, x, y, loss_of)


@pytest.mark.parametrize(("convert", "rules", "images"), WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("count", [1, 2], ids=["one thread", "two threads"])
def test_a_session_trains_the_bits_of_the_loop(
    tmp_path: Path, threads: Any, count: int, convert: dict[str, Any], rules: dict[str, Any], images: int
) -> None:
    threads(count)
    model, opt = trained(convert, rules)
    by_autograd(model, opt, *pictures(images, 99))  # what has been learned before goes along
    file, after = tmp_path / "plan.safetensors", tmp_path / "after.safetensors"
    sparsebp.export(model, file, preprocess=PICTURES, batch_size=images)
    session = Session(file)
    for step in range(STEPS):
        x, y = pictures(images, step)
        expected = by_autograd(model, opt, x, y)
        assert session.train(x, y).loss == pytest.approx(expected, rel=1e-12), f"step {step}"
    session.save(after)
    assert_same_weights(after, model)
    assert session.arena_peak == session.sizes.arena_bytes <= session.sizes.budget_bytes
    assert session.coverage() == pytest.approx(model.coverage().total)
    x, _ = pictures(7, 50)
    with torch.no_grad():
        logits = model.eval()(PICTURES.normalise(torch.from_numpy(x)))
    assert np.array_equal(session.predict(x), logits.numpy())


@pytest.mark.parametrize("images", [2, 5], ids=["one micro-batch", "three micro-batches"])
def test_dropout_in_the_frozen_prefix_drops_the_same_values(images: int, tmp_path: Path) -> None:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)]
    net = nn.Sequential(conv_norm(3, 8), nn.Dropout(0.3), conv_norm(8, 8), conv_norm(8, 8), *head)
    frozen = {"0.0": 0, "2.0": 0}
    model = sparsebp.convert(net, "1MB", input_size=SIZE, ratios=frozen, batch_size=2).train()
    assert model.prefix_is_random
    opt = sparsebp.optim.SGD(model, lr=0.02)
    sparsebp.export(model, tmp_path / "plan", preprocess=PICTURES, batch_size=images)
    session = Session(tmp_path / "plan")
    for step in range(4):
        expected = by_autograd(model, opt, *pictures(images, step))
        assert session.train(*pictures(images, step)).loss == pytest.approx(expected, rel=1e-12), f"step {step}"
    session.save(tmp_path / "after")
    assert_same_weights(tmp_path / "after", model)


def test_a_saved_session_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    model, _ = trained({"momentum": True, "resample_every": 3}, {"momentum": 0.9})
    file, half, whole, resumed = (tmp_path / f"{name}.safetensors" for name in ("plan", "half", "whole", "resumed"))
    sparsebp.export(model, file, preprocess=PICTURES, schedule="cosine", warmup=0.2, steps=10)
    session = Session(file)
    for step in range(10):
        session.train(*pictures(1, step))
        if step == 4:
            session.save(half)
    session.save(whole)
    session = Session(half.read_bytes())
    assert session.progress.batches == 5
    for step in range(5, 10):
        session.train(*pictures(1, step))
    session.save(resumed)
    assert resumed.read_bytes() == whole.read_bytes()


def test_the_schedule_smoothing_and_what_is_learned_already(tmp_path: Path) -> None:
    model, opt = trained({}, {})
    file, after = tmp_path / "plan.safetensors", tmp_path / "after.safetensors"
    sparsebp.export(
        model, file, preprocess=PICTURES, schedule="linear", steps=8, label_smoothing=0.1, skip_above=0.1, batch_size=1
    )
    session = Session(file)
    skipped = 0

    def learned(output: torch.Tensor, labels: torch.Tensor) -> bool:
        return bool((output.double().softmax(1).gather(1, labels[:, None]) > 0.1).all())

    for step in range(8):
        images, labels = pictures(1, step)
        if step % 2:
            labels = session.predict(images).argmax(1)  # of ten classes the likeliest has more than a tenth
        for group in opt.param_groups:
            group["lr"] = 0.02 * (1 - (step + 0.5) / 8)
        x, y = PICTURES.normalise(torch.from_numpy(images)), torch.from_numpy(labels)
        smooth = lambda o, t: cross_entropy(o.double(), t, label_smoothing=0.1)  # noqa: E731
        expected = sparsebp.fit_step(model, opt, x, y, smooth, skip=learned)
        got = session.train(images, labels)
        skipped += got.trained == 0
        assert got.loss == pytest.approx(expected, rel=1e-12)
    assert skipped > 0
    session.save(after)
    assert_same_weights(after, model)


def test_a_batch_that_is_given_up_leaves_nothing_in_the_sums(tmp_path: Path) -> None:
    """Its first micro-batch is summed when the second is found to be none: the next step knows of neither."""
    model = sparsebp.convert(tiny_mobilenet(), "1MB", input_size=SIZE, batch_size=2, gradients="sum").train()
    file, one, other = (tmp_path / name for name in ("plan", "one", "other"))
    sparsebp.export(model, file, lr=0.02, batch_size=4)
    x = np.random.default_rng(0).standard_normal((4, 16, 16, 3)).astype(np.float32)
    broken = x.copy()
    broken[3, 0, 0, 0] = np.nan
    given_up, undisturbed = Session(file), Session(file)
    with pytest.raises(FloatingPointError):
        given_up.train(broken, [0, 1, 2, 3])
    for session, out in ((given_up, one), (undisturbed, other)):
        session.train(x, [0, 1, 2, 3])
        session.save(out)
    expected = sparsebp.load_file(other)
    assert [n for n, t in sparsebp.load_file(one).items() if not torch.equal(t, expected[n])] == []


def test_a_session_is_not_copied_in_memory(tmp_path: Path) -> None:
    model, _ = trained({}, {})
    sparsebp.export(model, tmp_path / "plan")
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="save it, and open the file"):
            duplicate(Session(tmp_path / "plan"))


def test_evaluation_counts_and_measures(tmp_path: Path) -> None:
    model, _ = trained({"batch_size": 2}, {})
    sparsebp.export(model, tmp_path / "plan", preprocess=PICTURES, classes=list("abcdefghij"))
    session = Session(tmp_path / "plan")
    x, y = pictures(9, 1)
    logits = torch.from_numpy(session.predict(x)).double()
    found = session.evaluate(x, y)
    assert found.loss == pytest.approx(cross_entropy(logits, torch.from_numpy(y)).item(), rel=1e-12)
    assert found.correct == int((logits.argmax(1) == torch.from_numpy(y)).sum())
    assert session.classes == list("abcdefghij")
    numbers = PICTURES.normalise(torch.from_numpy(x)).permute(0, 2, 3, 1).contiguous().numpy()
    assert np.array_equal(session.predict(numbers), session.predict(x))


def test_the_original_class_takes_the_weights(tmp_path: Path) -> None:
    model, _ = trained({}, {})
    sparsebp.export(model, tmp_path / "plan")
    original = tiny_mobilenet(seed=3)
    original.load_state_dict(sparsebp.load_file(tmp_path / "plan"))
    x, _ = batch(SIZE, 2)
    with torch.no_grad():
        torch.testing.assert_close(original.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-5)
    with safetensors.safe_open(tmp_path / "plan", "np") as file:
        assert set(model.state_dict()) <= set(file.keys())  # any reader finds them


def test_no_torch_is_imported(tmp_path: Path) -> None:
    model, _ = trained({}, {})
    sparsebp.export(model, tmp_path / "plan", preprocess=PICTURES)
    script = (
        "import sys, numpy as np, sparsebp.runtime\n"
        f"session = sparsebp.runtime.Session({str(tmp_path / 'plan')!r})\n"
        "session.train(np.zeros((1, 16, 16, 3), np.uint8), [3])\n"
        "assert 'torch' not in sys.modules and 'PIL' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
