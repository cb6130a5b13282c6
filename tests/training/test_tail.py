"""What torch runs after the last layer: the same steps as in torch, whatever the network returns."""

from __future__ import annotations

import copy
import io
from collections import OrderedDict
from typing import Any

import pytest
import sparsebp
import torch
from dense_torch import dense, plans
from networks import batch, relative_error
from sparsebp import SparseModel
from sparsebp.capture.probe import tensors_of
from tails import CLASSES, ONE, SEVERAL, SIZE, Case, Network, numbers
from torch import nn
from torch.nn import functional
from training import assert_same, everything, one_thread  # noqa: F401

CASES = {**ONE, **SEVERAL}
cases = pytest.mark.parametrize("name", CASES)


def network(case: Case) -> Network:
    torch.manual_seed(0)
    return Network(case.end).double().eval()


def converted(case: Case, gradients: str = "in_place", **settings: Any) -> SparseModel:
    settings = {"ratios": {"*": 1.0}, "batch_size": 2, "input_size": SIZE, "gradients": gradients, **settings}
    return sparsebp.convert(network(case), "4MB", **settings)


def images(seed: int, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    x, labels = batch(SIZE, count, CLASSES, seed)
    return x.double(), labels


def step(model: nn.Module, opt: torch.optim.Optimizer, case: Case, seed: int) -> float:
    x, labels = images(seed)
    loss = case.loss(model(x), labels)
    loss.backward()
    opt.step()
    opt.zero_grad()
    return loss.item()


def assert_same_structure(got: Any, expected: Any) -> None:
    assert type(got) is type(expected)
    if isinstance(expected, dict):
        assert list(got) == list(expected)
    for one, other in zip(tensors_of(got), tensors_of(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@cases
@plans
def test_ten_steps_equal_torch_s(name: str, sums: bool) -> None:
    case = CASES[name]
    model, reference = converted(case, "sum" if sums else "in_place").train(), dense(network(case))
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    ours, theirs = (dict(net.named_parameters()) for net in (model, reference))
    start = {n: theirs[n].detach().clone() for n in trained}
    opt = sparsebp.optim.SGD(model, lr=0.05)
    torchs = torch.optim.SGD([theirs[n] for n in trained], lr=0.05)
    for i in range(10):
        assert step(model, opt, case, i) == pytest.approx(step(reference, torchs, case, i), rel=1e-9)
    for n in trained:
        changed, wanted = ours[n].detach() - start[n], theirs[n].detach() - start[n]
        assert relative_error(changed, wanted) < 1e-8 if wanted.norm() > 0 else changed.norm() == 0, n
    assert any((theirs[n].detach() - start[n]).norm() > 0 for n in trained)
    assert model.arena.peak == model.plan.peak_bytes


@cases
def test_evaluation_returns_what_the_original_returns_for_any_number_of_images(name: str) -> None:
    case = CASES[name]
    model, original = converted(case), network(case)
    for count in (1, 2, 5):
        x, _ = images(count, count)
        with torch.no_grad():
            assert_same_structure(model(x), original(x))
    features = model.run_prefix(x)
    with torch.no_grad():
        assert_same_structure(model.run_span(features), original(x))


@cases
def test_restored_copied_and_read_back_it_is_the_same_network(name: str) -> None:
    case = CASES[name]
    model = converted(case).train()
    step(model, sparsebp.optim.SGD(model, lr=0.05), case, 0)
    x, _ = images(1)
    expected = model.eval()(x)
    assert sparsebp.Plan.from_json(model.plan.to_json()) == model.plan
    assert_same_structure(copy.deepcopy(model)(x), expected)
    again = sparsebp.convert(network(case), plan=model.plan)
    again.load_state_dict(model.state_dict())
    assert_same_structure(again.eval()(x), expected)
    original = sparsebp.restore(model)
    assert_same_structure(original(x), expected)


def test_a_batch_larger_than_planned_goes_through_in_parts() -> None:
    case = CASES["log_softmax"]
    model, reference = converted(case, "sum").train(), dense(network(case))
    opt = sparsebp.optim.SGD(model, lr=0.1)
    x, labels = images(0, 6)
    loss = case.loss(reference(x), labels)
    assert sparsebp.fit_step(model, opt, x, labels, case.loss) == pytest.approx(loss.item(), rel=1e-9)
    loss.backward()
    after = reference.classifier.weight - 0.1 * reference.classifier.weight.grad
    torch.testing.assert_close(model.original.classifier.weight, after)


@pytest.mark.parametrize("functional_", [False, True], ids=["module", "function"])
def test_dropout_in_it_drops_in_training_mode_only(functional_: bool) -> None:
    def end(m: Network, x: torch.Tensor) -> torch.Tensor:
        y = functional.normalize(numbers(m, x))
        return functional.dropout(y, 0.5, m.training) if functional_ else m.drop(y)

    case = Case(end, ONE["embedding"].loss)
    model, reference = converted(case).train(), dense(network(case)).train()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x, labels = images(0)
    results = []
    for net in (model, reference):
        torch.manual_seed(3)
        results.append(net(x))
    torch.testing.assert_close(*results)
    assert (results[0] == 0).any()
    opt = sparsebp.optim.SGD(model, lr=0.0)
    for y in results:
        case.loss(y, labels).backward()
    opt.step()
    with torch.no_grad():
        assert not (model.eval()(x) == 0).any()


def test_audit_measures_and_changes_nothing() -> None:
    case = CASES["embedding"]
    model = converted(case).train()
    before = everything(model)
    x, labels = images(0)
    audit = sparsebp.audit(model, x, labels, case.loss)
    assert_same(everything(model), before)
    assert audit.arena_peak == audit.predicted_peak
    assert audit.outside_bytes < 4096


def test_a_checkpoint_of_torch_goes_on_bit_by_bit() -> None:
    case = CASES["log_softmax"]
    models = [converted(case).train()]
    opt = sparsebp.optim.SGD(models[0], lr=0.05)
    step(models[0], opt, case, 0)
    file = io.BytesIO()
    torch.save(models[0], file)
    file.seek(0)
    models.append(torch.load(file, weights_only=False))
    for model in models:
        step(model, sparsebp.optim.SGD(model, lr=0.05), case, 1)
    assert_same(models[1].state_dict(), models[0].state_dict())


def test_the_plan_says_what_runs_there_and_knows_another_end() -> None:
    plan = converted(CASES["log_softmax"]).plan
    assert plan.network.tail.shapes == ((CLASSES,),)
    assert plan.network.tail.ops == ("log_softmax",)
    assert "after the last layer, in torch  log_softmax (1)" in str(plan)
    with pytest.raises(ValueError, match="after the last layer something else runs in torch"):
        sparsebp.convert(network(CASES["embedding"]), plan=plan)


def test_a_network_that_returns_an_ordered_dictionary_of_one_tensor() -> None:
    model = converted(Case(lambda m, x: OrderedDict(out=numbers(m, x)), ONE["log_softmax"].loss))
    assert type(model(images(0)[0])) is OrderedDict
    assert model.plan.network.tail.ops == ()


def test_what_it_returns_may_be_one_tensor_of_any_shape() -> None:
    assert converted(CASES["rows"]).output_shape == (CLASSES, 16)
    with pytest.raises(RuntimeError, match="output_shape: Network returns more than one tensor"):
        _ = converted(CASES["buffer"]).output_shape


# -- what needs logits -----------------------------------------------------------------------------


def end_with(end: Any) -> SparseModel:
    torch.manual_seed(0)
    net = Network(end).eval()
    return sparsebp.convert(net, "4MB", input_size=SIZE, batch_size=2).train()


@pytest.mark.parametrize("kind", ["log_softmax", "softmax"])
@pytest.mark.parametrize("spelling", ["function", "method", "module"])
def test_probabilities_of_classes_are_left_out_of_a_plan_file(kind: str, spelling: str, tmp_path: Any) -> None:
    ends = {
        "function": lambda m, x: getattr(functional, kind)(numbers(m, x), dim=-1),
        "method": lambda m, x: getattr(numbers(m, x), kind)(1),
        "module": lambda m, x: getattr(m, kind)(numbers(m, x)),
    }
    model = end_with(ends[spelling])
    sparsebp.export(model, tmp_path / "plan", lr=0.1)
    session = sparsebp.runtime.Session(tmp_path / "plan")
    x = torch.randn(2, *SIZE)
    logits = torch.from_numpy(session.predict(x.permute(0, 2, 3, 1).contiguous().numpy()))
    torch.testing.assert_close(getattr(logits, kind)(1), model.eval()(x).detach())


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda m, x: functional.normalize(numbers(m, x)), r"ends in normalize \(1\)"),
        (lambda m, x: (numbers(m, x), x), "ends in several tensors"),
        (lambda m, x: numbers(m, x).sigmoid(), "ends in sigmoid"),
        (lambda m, x: {"y": functional.log_softmax(numbers(m, x), 1)}, r"log_softmax \(1\)"),
    ],
    ids=["normalize", "several", "sigmoid", "dictionary"],
)
def test_any_other_end_has_no_plan_file(end: Any, words: str, tmp_path: Any) -> None:
    model = end_with(end)
    with pytest.raises(sparsebp.UnsupportedModel, match=f"export: .*{words}"):
        sparsebp.export(model, tmp_path / "plan", lr=0.1)
    assert list(tmp_path.iterdir()) == []


def test_an_end_that_mixes_the_images_of_a_batch_is_refused() -> None:
    with pytest.raises(sparsebp.UnsupportedModel, match="mixes the images of a batch"):
        end_with(lambda m, x: functional.log_softmax(numbers(m, x), 0))


def test_a_budget_for_the_whole_step_knows_no_such_ops() -> None:
    net = network(CASES["embedding"]).float()
    with pytest.raises(sparsebp.UnsupportedModel, match=r"scope: .* after the last layer only torch runs normalize"):
        sparsebp.plan(net, "4MB", input_size=SIZE, scope="step")
    sparsebp.plan(network(CASES["log_softmax"]).float(), "4MB", input_size=SIZE, scope="step")
