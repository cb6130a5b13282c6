"""What was planned once is carried along: copies, pickles and resumed runs never plan again."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import sparsebp
import torch
from networks import residual_network, tiny_mobilenet
from runs import SETTINGS, assert_plain, assert_same_run, finetune, interrupt, network
from sparsebp import Plan, SparseModel
from sparsebp.finetuning import CheckpointError, checkpoint
from sparsebp.finetuning.conversion import _fingerprint
from sparsebp.planning.choice import by_names
from sparsebp.planning.planner import Planner
from sparsebp.training.convert import plan_as_chosen
from training import SIZE, assert_same, converted, everything, one_thread, sgd, step  # noqa: F401


def another_planner(patch: pytest.MonkeyPatch) -> None:
    """A later version, which would choose something else."""
    best = Planner.best

    def other(self: Planner, budget: int) -> Any:
        return best(self, budget * 3 // 4)

    patch.setattr(Planner, "best", other)


def no_planner(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("planned again")

    for name in ("best", "smallest", "_worthiest", "choice"):
        patch.setattr(Planner, name, refuse)


planners = pytest.mark.parametrize("later", [another_planner, no_planner])


def pickled(model: SparseModel) -> SparseModel:
    return pickle.loads(pickle.dumps(model))


def saved(model: SparseModel) -> SparseModel:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@planners
@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled, saved])
def test_a_copy_has_the_plan_of_its_source_whatever_the_planner_says_now(
    duplicate: Callable[[SparseModel], SparseModel], later: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = converted(20_000, momentum=True, resample_every=2)
    opt = sgd(model, momentum=0.5)
    step(model, opt)
    later(monkeypatch)
    twin = duplicate(model)
    assert twin.plan == model.plan
    other = sgd(twin, momentum=0.5)
    for i in range(3):
        assert step(twin, other, seed=i) == step(model, opt, seed=i)
    assert_same(everything(twin), everything(model))
    assert duplicate(twin).plan == model.plan


# -- runs -----------------------------------------------------------------------------------------


@planners
@pytest.mark.parametrize("changes", [{}, {"gradients": "sum", "budget": "32KB"}], ids=str)
def test_a_resumed_run_goes_on_under_its_own_plan(
    changes: dict[str, Any], later: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(tmp_path / "undisturbed", **changes)
    interrupt(tmp_path / "run", "stepped", 2, **changes)
    later(monkeypatch)
    finetune(tmp_path / "run", resume=True, **changes)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def plan_without_loss(**keywords: Any) -> Plan:
    """As plans were before the gradient of the loss lay in the arena."""
    made = sparsebp.plan(network(), **keywords)
    return plan_as_chosen(network(), {**made.choice.named(made.network), "loss": False}, **keywords)


def as_version_2(folder: Path, change: Callable[[dict[str, Any]], None] = lambda state: None) -> None:
    """Rewrites the newest checkpoint as sparsebp wrote it before plans were carried along."""
    newest = checkpoint.latest(folder)
    assert newest is not None
    state = json.loads((newest / "state.json").read_bytes())
    training = safetensors.torch.load_file(newest / "training.safetensors")
    keywords = _keywords(state["settings"], sums="arena.sums" in training)
    state["plan"] = _fingerprint(plan_without_loss(**keywords))
    state["version"] = 2
    del state["sha256"], state["settings"]["gradients"], state["counters"]["pending"]
    state["counters"]["_due"] = state["counters"].pop("due")
    change(state)
    write_state(newest, state)


def as_version_3(folder: Path) -> None:
    """Rewrites the newest checkpoint as sparsebp wrote it when it carried the choice, and no plan."""
    newest = checkpoint.latest(folder)
    assert newest is not None
    state = json.loads((newest / "state.json").read_bytes())
    state["version"], state["choice"] = 3, state.pop("plan")["choice"]
    del state["sha256"]
    write_state(newest, state)


def with_an_older_plan(folder: Path) -> None:
    """Rewrites the newest checkpoint as it was when plans knew neither of auxiliary heads nor of a tail."""
    newest = checkpoint.latest(folder)
    assert newest is not None
    state = json.loads((newest / "state.json").read_bytes())
    state["plan"]["version"] = 2
    del state["sha256"], state["plan"]["network"]["tail"]
    for name in ("aux", "activation_bits"):
        del state["settings"][name], state["plan"]["settings"][name]
    write_state(newest, state)


def write_state(folder: Path, state: dict[str, Any]) -> None:
    state["sha256"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (folder / "state.json").write_text(json.dumps(state))


def _keywords(settings: dict[str, Any], sums: bool) -> dict[str, Any]:
    names = ("max_update_ratio", "ratios", "resample_every", "normalise", "train_bias", "budget", "sampler", "seed")
    size = {"input_size": (3, *settings["input_size"]), "batch_size": settings["micro_batch"]}
    return {**{k: settings[k] for k in names}, **size, "gradients": "sum" if sums else "in_place"}


#: Where everything trains anyway, sums change nothing about the choice but themselves.
ALL = {"budget": "1MB", "lr": 0.01}


@pytest.mark.parametrize("older", [as_version_2, as_version_3, with_an_older_plan])
def test_a_folder_of_an_older_version_goes_on(older: Callable[[Path], None], tmp_path: Path) -> None:
    size = {"input_size": (3, SETTINGS["input_size"], SETTINGS["input_size"])}
    plan = plan_without_loss(budget=SETTINGS["budget"], **size)
    finetune(tmp_path / "undisturbed", plan=plan)
    interrupt(tmp_path / "run", "stepped", 2, plan=plan)
    older(tmp_path / "run")
    finetune(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def test_one_that_carried_a_choice_never_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(tmp_path, "stepped", 2)
    as_version_3(tmp_path)
    no_planner(monkeypatch)
    finetune(tmp_path, resume=True)


def test_one_whose_left_over_bytes_had_turned_sums_on_goes_on_with_sums(tmp_path: Path) -> None:
    finetune(tmp_path / "undisturbed", gradients="sum", **ALL)
    interrupt(tmp_path / "run", "stepped", 2, gradients="sum", **ALL)
    as_version_2(tmp_path / "run")
    result = finetune(tmp_path / "run", resume=True, **ALL)
    assert result.plan.gradients == "sum"
    expected = safetensors.torch.load_file(tmp_path / "undisturbed" / "model.safetensors")
    assert_same(safetensors.torch.load_file(tmp_path / "run" / "model.safetensors"), expected)


def test_one_whose_plan_cannot_be_made_again_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(tmp_path, "stepped", 2)
    as_version_2(tmp_path, lambda state: state.update(sparsebp="0.0.9"))
    another_planner(monkeypatch)
    model = network()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"another plan than this sparsebp makes .* \(version 0\.0\.9 wrote it\)"):
        finetune(tmp_path, model, resume=True)
    assert_plain(model, network())
    assert_same(model.state_dict(), before)


@pytest.mark.parametrize(
    ("older", "words"),
    [
        (None, r"layer features\.0\.0: output was 16x8x8, here it is 16x9x9"),
        (as_version_3, r"features\.0\.0\.weight was \[16, 3, 3, 3\], in this model it is"),
    ],
    ids=["today's", "version 3"],
)
def test_a_checkpoint_of_a_model_with_other_shapes_under_the_same_names_changes_nothing(
    older: Callable[[Path], None] | None, words: str, tmp_path: Path
) -> None:
    interrupt(tmp_path, "stepped", 2, ratios={"*": 0.0, "classifier.1": 1.0, "features.6.0": 0.1})
    if older is not None:
        older(tmp_path)
    model = tiny_mobilenet(classes=4)
    model.features[0][0].weight.data = model.features[0][0].weight.data[:, :, :2, :2].clone()
    model.features[0][0].kernel_size = (2, 2)
    before = everything(model)
    with pytest.raises(CheckpointError, match=words):
        finetune(tmp_path, model, resume=True, ratios={"*": 0.0, "classifier.1": 1.0, "features.6.0": 0.1})
    assert_same(everything(model), before)


# -- the choice itself ------------------------------------------------------------------------------


def test_a_choice_is_plain_data_by_the_names_of_layers() -> None:
    model = converted(20_000, sampler="importance")
    named = json.loads(json.dumps(model.choice))
    assert named["begin"] == next(iter(named["selected"]))
    assert {n: k for n, k in named["selected"].items() if k} == {layer.name: layer.selected for layer in model.plan}
    assert by_names(named, model.plan.network) == model.plan.choice


Change = Callable[[dict[str, Any]], object]
WRONG: dict[str, tuple[Change, str]] = {
    "another beginning": (lambda c: c.update(begin="features.99"), "no span begins with 'features.99'"),
    "a layer more": (lambda c: c["selected"].update(other=1), "only one of the two has 'other'"),
    "a layer less": (lambda c: c["selected"].pop("classifier.1"), r"only one of the two has 'classifier\.1'"),
    "a block of no op": (lambda c: c["blocks"].update(other=16), "only one of the two has 'other'"),
    "too many channels": (lambda c: c["selected"].update({"classifier.1": 10**6}), r"classifier\.1: expected 0 to 64"),
    "channels in words": (lambda c: c["selected"].update({"classifier.1": "all"}), r"classifier\.1: expected 0 to 64"),
    "no blocks": (lambda c: c.pop("blocks"), "incomplete or damaged"),
    "a batch that is none": (lambda c: c.update(batch=True), "batch: expected int, got True"),
    "a width of none": (lambda c: c["blocks"].update({"features.6.0": 0}), "expected 1 to"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_choice_that_does_not_fit_is_refused(kind: str) -> None:
    model, (change, reason) = converted(20_000), WRONG[kind]
    choice = copy.deepcopy(model.choice)
    change(choice)
    with pytest.raises(ValueError, match=f"choice: .*{reason}"):
        by_names(choice, model.plan.network)


def test_a_choice_for_another_network_is_refused_and_leaves_the_model_alone() -> None:
    choice, net = converted().choice, residual_network()
    before = everything(net)
    with pytest.raises(ValueError, match="choice: made for another network"):
        plan_as_chosen(net, choice, "1MB", input_size=SIZE)
    assert_same(everything(net), before)
