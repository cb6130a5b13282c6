"""Weights as common trainers write them: whatever stands before their names, the network is found or said to lack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from networks import tiny_mobilenet
from runs import RUN, Run, here, run
from sparsebp import LoadedWeights, load_weights
from sparsebp.cli.errors import Exit
from torch import nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["here", "run"]  # fixtures

State = dict[str, torch.Tensor]


def state(seed: int = 1) -> State:
    return {name: t.clone() for name, t in tiny_mobilenet(seed).state_dict().items()}


def behind(prefix: str, weights: State) -> State:
    return {prefix + name: t for name, t in weights.items()}


def inserted(segment: str, weights: State) -> State:
    """As names are if only the features are wrapped."""
    return {name.replace("features.", f"features.{segment}.", 1): t for name, t in weights.items()}


def flat(content: Any, prefix: str = "") -> State:
    """A checkpoint as safetensors holds it, which knows no dicts inside dicts."""
    if isinstance(content, torch.Tensor):
        return {prefix: content.clone()}
    found: State = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        found |= flat(value, f"{prefix}.{key}" if prefix else key)
    return found


def saved(content: Any, file: Path) -> Path:
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(flat(content), file)
    else:
        torch.save(content, file)
    return file


def assert_loaded(model: nn.Module, expected: State) -> None:
    for (name, got), value in zip(model.state_dict().items(), expected.values(), strict=True):
        assert torch.equal(got, value), name


# -- names and dicts -----------------------------------------------------------------------------------

WRAPPED: dict[str, Callable[[State], Any]] = {
    "DataParallel": lambda s: behind("module.", s),
    "torch.compile": lambda s: behind("_orig_mod.", s),
    "Lightning": lambda s: {"state_dict": behind("model.", s), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    "compiled in Lightning": lambda s: {"state_dict": behind("model._orig_mod.", s)},
    "compiled and parallel": lambda s: {"model": behind("_orig_mod.module.", s), "optimizer": {"state": {}}},
    "parallel and compiled": lambda s: behind("module._orig_mod.", s),
    "fully sharded": lambda s: behind("_fsdp_wrapped_module.", inserted("_fsdp_wrapped_module", s)),
    "a compiled part": lambda s: inserted("_orig_mod", s),
    "a parallel part": lambda s: inserted("module", s),
    "averaged": lambda s: dict(AveragedModel(with_weights(s)).state_dict()),
    "averaged and parallel": lambda s: behind("module.", dict(AveragedModel(with_weights(s)).state_dict())),
    "only averaged in a checkpoint": lambda s: {"model_ema": {"module": s, "decay": 0.9}, "epoch": 3},
    "net": lambda s: {"net": s, "epoch": 3},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.3},
    "a name of its own": lambda s: {"my_student": {"backbone": s}},
    "dicts in dicts": lambda s: {"state": {"model": {"net": {"module": s}}}},
    "other weights beside": lambda s: {"state_dict": behind("net.", s) | {"criterion.weight": torch.ones(3)}},
}


def with_weights(weights: State) -> nn.Module:
    model = tiny_mobilenet(0)
    model.load_state_dict(weights)
    return model


@pytest.mark.parametrize("file", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("kind", WRAPPED)
def test_a_network_is_found_behind_whatever_a_trainer_puts_before_its_names(
    kind: str, file: str, tmp_path: Path
) -> None:
    model = tiny_mobilenet(0)
    load_weights(model, saved(WRAPPED[kind](state()), tmp_path / file))
    assert_loaded(model, state())


class Wrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = tiny_mobilenet(0)


@pytest.mark.parametrize("make", [Wrapper, lambda: nn.DataParallel(Wrapper())], ids=["model.", "module.model."])
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module.model.", "_orig_mod.net."])
def test_the_network_may_be_a_wrapper_itself(make: Callable[[], nn.Module], prefix: str, tmp_path: Path) -> None:
    model = make()
    load_weights(model, saved(behind(prefix, state()), tmp_path / "w.pt"))
    assert_loaded(model, state())


class Parts(nn.Module):
    """A part of it has the name that DataParallel gives."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(3, 3)
        self.last = nn.Linear(3, 2)


def test_a_part_called_module_is_no_wrapper(tmp_path: Path) -> None:
    model, other = Parts(), Parts()
    for prefix in ("", "module."):
        load_weights(model, saved(behind(prefix, dict(other.state_dict())), tmp_path / "w.pt"))
        assert_loaded(model, dict(other.state_dict()))


# -- several networks in one file ------------------------------------------------------------------------

CHOICES: dict[str, tuple[dict[str, Any], str]] = {
    "averaged weights first": ({"model": state(2), "model_ema": {"module": state(), "n_averaged": torch.tensor(3)}},
                               "those behind 'model_ema.module.', which are averaged, not those behind 'model.'"),
    "wherever they are": ({"state_dict_ema": state(), "state_dict": state(2)}, "'state_dict_ema.', which are averaged"),
    "then the first": ({"student": state(), "teacher": state(2)}, "behind 'student.', not those behind 'teacher.'"),
    "no gradients": ({"grads": state(2), "weights": state()}, "those behind 'weights.', not those behind 'grads.'"),
    "what has the shapes": (
        {"ema": {k: t.new_zeros(*t.shape, 2) for k, t in state().items()}, "model": state()},
        "those behind 'model.', not those behind 'ema.'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHOICES)
def test_of_several_networks_one_is_chosen_and_said(kind: str, tmp_path: Path) -> None:
    content, said = CHOICES[kind]
    model = tiny_mobilenet(0)
    loaded = load_weights(model, saved(content, tmp_path / "w.pt"))
    assert_loaded(model, state())
    assert said in loaded.source


def test_what_needs_no_word_gets_none(tmp_path: Path) -> None:
    assert load_weights(tiny_mobilenet(0), saved(state(), tmp_path / "w.pt")) == LoadedWeights(None, "", "")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    content = {
        "state_dict": behind("net.", state()) | {"criterion.weight": torch.ones(3), "metric.count": torch.ones(1)}
    }
    loaded = load_weights(tiny_mobilenet(0), saved(content, tmp_path / "w.pt"))
    assert loaded.source == "those behind 'state_dict.net.', without state_dict.criterion.weight and 1 more"


def test_a_dict_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": state()}
    content["self"], content["again"] = content, content["model"]
    loaded = load_weights(tiny_mobilenet(0), saved(content, tmp_path / "w.pt"))
    assert loaded.source == "those behind 'model.'"


def test_many_dicts_in_dicts_take_no_time(tmp_path: Path) -> None:
    content: dict[str, Any] = {"weight": torch.ones(1)}
    for _ in range(300):
        content = {"a": content, "b": content}
    with pytest.raises(ValueError, match="holds no tensors with names"):
        load_weights(tiny_mobilenet(0), saved(content, tmp_path / "w.pt"))


# -- kinds of numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("file", ["w.pt", "w.safetensors"])
def test_other_floating_point_numbers_are_converted_and_that_is_said(
    dtype: torch.dtype, file: str, tmp_path: Path
) -> None:
    given = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state().items()}
    model = tiny_mobilenet(0)
    loaded = load_weights(model, saved(given, tmp_path / file))
    assert_loaded(model, {name: t.float() if t.is_floating_point() else t for name, t in given.items()})
    assert loaded.source == f"{dtype} becomes float32".removeprefix("torch.")


UNFIT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "holds int8; expected floating-point": lambda t: t.to(torch.int8),
    "holds complex64; expected floating-point": lambda t: t.to(torch.complex64),
    "is a meta, sparse or quantised tensor .qint8.": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "is a meta, sparse or quantised tensor .float32.": lambda t: t.to_sparse(),
    "is a meta, sparse or quantised tensor": lambda t: t.to("meta"),
    "holds numbers that are not finite": lambda t: (t * 1e30).half(),
}


@pytest.mark.filterwarnings("ignore:.*quantiz.*")
@pytest.mark.parametrize("why", UNFIT)
def test_numbers_that_are_no_weights_are_refused(why: str, tmp_path: Path) -> None:
    name = "features.0.0.weight"
    model, given = tiny_mobilenet(0), {**state(), name: UNFIT[why](state()[name])}
    with pytest.raises(ValueError, match=rf"w\.pt: features\.0\.0\.weight {why}"):
        load_weights(model, saved(given, tmp_path / "w.pt"))
    assert_loaded(model, state(0))


# -- what cannot be found ------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["w.pt", "w.safetensors"])
def test_a_failure_lists_the_names_found_and_expected(file: str, tmp_path: Path) -> None:
    other = {"model": {name.replace("features", "trunk"): t for name, t in state().items()}, "epoch": 3}
    model = tiny_mobilenet(0)
    with pytest.raises(ValueError, match=rf"{file}: found .*they lack") as caught:
        load_weights(model, saved(other, tmp_path / file))
    text = str(caught.value)
    assert "model.trunk.0.0.weight" in text
    assert "and 95 more; expected features.0.0.weight, features.0.1.weight, features.0.1.bias and 95 more" in text
    assert len(text) < 600
    assert_loaded(model, state(0))


def test_behind_a_prefix_too_nothing_may_be_missing_or_too_much(tmp_path: Path) -> None:
    given = behind("net.", state())
    del given["net.features.0.1.bias"]
    with pytest.raises(ValueError, match=r"they lack features\.0\.1\.bias, the model does not know net\.extra$"):
        load_weights(tiny_mobilenet(0), saved(given | {"net.extra": torch.ones(1)}, tmp_path / "w.pt"))


def test_a_file_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no tensors .*, but epoch \(int\), log \(list of 2\)$"):
        load_weights(tiny_mobilenet(0), saved({"epoch": 3, "log": [0.5, 0.4]}, tmp_path / "w.pt"))


# -- the command line --------------------------------------------------------------------------------------


def test_a_run_from_wrapped_weights_is_the_run_from_plain_ones(run: Run, here: Path) -> None:
    plain = torch.load("weights.pt")
    saved({"model": state(2), "model_ema": behind("module.", plain)}, here / "ema.pt")
    saved(behind("module._orig_mod.", plain), here / "compiled.safetensors")
    made = []
    for file in ("weights.pt", "ema.pt", "compiled.safetensors"):
        code, out, err = run(*RUN, "--epochs", "1", "--weights", file, "--out", f"from {file}")
        assert (code, err) == (Exit.OK, "")
        assert ("weights     those behind" in out) == (file != "weights.pt")
        made.append((here / f"from {file}" / "model.safetensors").read_bytes())
    assert len(set(made)) == 1
    code, out, _ = run("evaluate", "--data", "pictures", "--weights", "from ema.pt/model.safetensors", "--workers", "0")
    assert code == Exit.OK
