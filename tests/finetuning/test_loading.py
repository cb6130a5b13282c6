"""``sparsebp.load``: whatever a run or an export wrote comes back with its classes and its preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import sparsebp
import torch
from runs import CLASSES, RUN, Run, finetune, here, interrupt, network, run, torch_first
from sparsebp import data
from sparsebp.cli.errors import Exit
from sparsebp.finetuning import checkpoint, demo
from sparsebp.finetuning.loading import weights_file
from sparsebp.networks.pretrained import read_weights
from torch import nn

__all__ = ["here", "run"]  # fixtures

TINY = {"model": "tiny:tiny"}
X = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def assert_loaded(model: nn.Module, like: nn.Module) -> None:
    """In evaluation mode, with the weights of ``like``."""
    assert not any(part.training for part in model.modules())
    with torch.no_grad():
        assert torch.equal(model(X), like.eval()(X))


# -- what a run writes -----------------------------------------------------------------------------


@pytest.fixture
def trained(here: Path, run: Run) -> Path:
    """A folder of a run of the command line, of a network in a file of its user."""
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == 0
    return here / "run"


def test_a_run_is_loaded_by_its_folder_or_its_weights(trained: Path) -> None:
    expected = network(1)
    expected.load_state_dict(safetensors.torch.load_file(trained / "model.safetensors"))
    for path in (trained, str(trained), trained / "model.safetensors"):
        model = sparsebp.load(path)
        assert_loaded(model, expected)
        assert model.classes == CLASSES
        assert model.preprocess == data.Preprocess((16, 16))


def test_what_is_loaded_trains_again(trained: Path) -> None:
    model = sparsebp.load(trained)
    sparse = sparsebp.convert(model, "16KB", input_size=(3, 16, 16))
    assert sparsebp.restore(sparse).classes == CLASSES
    assert list(model.state_dict()) == list(network().state_dict())


def test_a_picture_goes_from_its_file_to_a_name(trained: Path, here: Path) -> None:
    model = sparsebp.load(trained)
    source = data.Files(here / "pictures" / "red", ["00.png"], [0])
    x = model.preprocess.normalise(torch.from_numpy(model.preprocess.fit(source.picture(0)))[None])
    assert model.classes[int(model(x).argmax())] in CLASSES


def test_a_run_in_the_middle_is_loaded_from_its_newest_checkpoint(tmp_path: Path) -> None:
    interrupt(tmp_path / "run", "stepped", 2, origin=TINY)
    newest = checkpoint.latest(tmp_path / "run")
    assert newest is not None
    expected = network()
    expected.load_state_dict(checkpoint.read(newest).weights)
    for path in (tmp_path / "run", newest, newest / "weights.safetensors"):
        assert_loaded(sparsebp.load(path, model=network(1)), expected)


def test_a_run_from_python_is_loaded_into_a_model_or_by_the_name_of_one(tmp_path: Path, here: Path) -> None:
    result = finetune(tmp_path / "run")
    for model in (network(1), "tiny:tiny", network(1, classes=9)):
        assert_loaded(sparsebp.load(tmp_path / "run", model=model), result.model)
    with pytest.raises(ValueError, match=r"model\.safetensors does not say which network it is of; give model"):
        sparsebp.load(tmp_path / "run")


def test_a_function_that_takes_no_number_of_classes_is_no_hindrance(trained: Path, here: Path) -> None:
    (here / "ten.py").write_text("import tiny\n\ndef ten():\n    return tiny.tiny(10)\n")
    assert_loaded(sparsebp.load(trained, model="ten:ten"), sparsebp.load(trained))


def test_the_demo_s_run_is_loaded_too(tmp_path: Path) -> None:
    model = demo.pretrained()
    about = {"model": demo.MODEL, "classes": list("0123456789"), "preprocess": demo.PREPROCESS.to_dict()}
    file = written(tmp_path, about, model.state_dict())
    loaded = sparsebp.load(file)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), model(x))
    assert loaded.preprocess == demo.PREPROCESS


def test_a_result_names_its_classes(tmp_path: Path) -> None:
    assert finetune().classes == CLASSES


# -- plan files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spare", [0, 2])
def test_a_plan_file_is_loaded_without_its_spare_outputs(spare: int, tmp_path: Path, here: Path) -> None:
    model = network(3, classes=4 + spare)
    sparse = sparsebp.convert(model, "16KB", input_size=(3, 16, 16))
    about: dict[str, Any] = {"classes": CLASSES, "spare_classes": spare, "preprocess": data.Preprocess((16, 16))}
    sparsebp.export(sparse, tmp_path / "plan.safetensors", origin=TINY, lr=0.1, **about)
    loaded = sparsebp.load(tmp_path / "plan.safetensors")
    assert loaded.classes == CLASSES
    sparsebp.restore(sparse)
    with torch.no_grad():
        assert torch.equal(loaded(X), model.eval()(X)[:, :4])


# -- files that say less, or too much --------------------------------------------------------------


def written(folder: Path, about: dict[str, Any], state: dict[str, torch.Tensor] | None = None) -> Path:
    """A file of weights that says ``about`` of itself."""
    tensors = network().state_dict() if state is None else state
    safetensors.torch.save_file(tensors, folder / "some.safetensors", {"sparsebp": json.dumps(about)})
    return folder / "some.safetensors"


WHOLE = {"classes": list(CLASSES), "preprocess": data.Preprocess((16, 16)).to_dict(), **TINY}


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ({"classes"}, r"some\.safetensors does not say the names of its classes, as files of sparsebp finetune"),
        ({"preprocess"}, r"some\.safetensors does not say how it wants pictures"),
        ({"classes", "preprocess"}, r"the names of its classes and how it wants pictures"),
        ({"model"}, r"some\.safetensors does not say which network it is of; give model"),
    ],
)
def test_a_file_that_does_not_say_enough_is_refused(lacking: set[str], message: str, tmp_path: Path) -> None:
    about = {key: value for key, value in WHOLE.items() if key not in lacking}
    with pytest.raises(ValueError, match=message):
        sparsebp.load(written(tmp_path, about))


def test_files_of_others_and_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt does not say .*sparsebp\.load_weights brings other files"):
        sparsebp.load(tmp_path / "weights.pt")
    with pytest.raises(FileNotFoundError, match=r"the folder of a run; .* holds no model\.safetensors"):
        sparsebp.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        sparsebp.load(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["os:abort", "subprocess:call", "torch:os.abort", "nowhere:f", "tiny:none", 7])
def test_a_file_cannot_have_python_s_own_functions_called(name: Any, run: Run, tmp_path: Path, here: Path) -> None:
    file = written(tmp_path, {**WHOLE, "model": name})
    with pytest.raises(ValueError, match=r"^model: "):
        sparsebp.load(file)
    code, _, err = run("evaluate", "--weights", str(file), "--data", "pictures")
    assert (code, err.startswith("sparsebp: error: --model: ")) == (Exit.USAGE, True)


def test_weights_of_another_network_or_number_of_classes_are_refused(tmp_path: Path, here: Path) -> None:
    with pytest.raises(ValueError, match="belong to another model"):
        sparsebp.load(written(tmp_path, WHOLE), model=torch_first())
    with pytest.raises(ValueError, match=r"it names 3 classes, but classifier\.1 has another shape"):
        sparsebp.load(written(tmp_path, {**WHOLE, "classes": list("abc")}))


def test_a_path_is_found_as_shells_write_it(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(trained.parent))
    assert weights_file("~/run") == trained / "model.safetensors"
    assert read_weights(weights_file("~/run")).metadata["model"] == "tiny:tiny"
