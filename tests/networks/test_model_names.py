"""Models by name: those of the package, and functions of the user's own modules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sparsebp
from sparsebp.networks.names import KNOWN, build_model, resolve_model
from torch import nn

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """``write(name, source)`` makes a module in the current directory; all is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in [name for name in sys.modules if name.startswith("own_")]:
        monkeypatch.delitem(sys.modules, name)

    def make(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)

    return make


def test_a_name_of_the_package() -> None:
    for name in ("mobilenet_v2", "mobilenet_v2_tf", "efficientnet_lite0"):
        assert resolve_model(name) is getattr(sparsebp.models, name)
    assert list(KNOWN) == ["mobilenet_v2", "mobilenet_v2_tf", "efficientnet_lite0"], "helpers are no models"


def test_a_function_of_a_module_in_the_current_directory(write: Write) -> None:
    write("own_nets", "from torch import nn\nclass Nets:\n  @staticmethod\n  def small(): return nn.Linear(2, 3)\n")
    assert isinstance(build_model("own_nets:Nets.small"), nn.Linear)


def test_the_current_directory_goes_before_installed_packages(write: Write) -> None:
    write("own_first", "import sys\nhere = sys.path[0]\ndef make(): ...\n")
    resolve_model("own_first:make")
    assert sys.modules["own_first"].here == str(Path.cwd())


@pytest.mark.parametrize(
    ("signature", "classes"),
    [
        ("num_classes", 7),
        ("*, num_classes=5", 7),
        ("**rest", 7),
        ("", None),
        ("*rest", None),
        ("num_classes=5, /", 5),
    ],
)
def test_num_classes_is_given_to_functions_that_take_it(write: Write, signature: str, classes: int | None) -> None:
    body = "model = nn.Identity(); model.seen = locals().get('num_classes', locals().get('rest') or None); return model"
    write("own_signature", f"from torch import nn\ndef make({signature}):\n  {body}\n")
    seen = build_model("own_signature:make", 7).seen
    assert seen in (classes, {"num_classes": classes})


def test_without_classes_the_function_chooses(write: Write) -> None:
    write("own_default", "from torch import nn\ndef make(num_classes=5): return nn.Linear(1, num_classes)\n")
    model = build_model("own_default:make")
    assert isinstance(model, nn.Linear)
    assert model.out_features == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenetv2", "did you mean 'mobilenet_v2'?"),
        (
            "resnet",
            "mobilenet_v2_tf, efficientnet_lite0, or package.module:function, got 'resnet'",
        ),
        ("own_nets.py:small", "such as own_nets:small for a file here"),
        ("./own_nets.py:", "such as own_nets:function for a file here"),
        ("own_nets:", "expected package.module:function, got 'own_nets:'"),
        (":small", "expected package.module:function, got ':small'"),
        ("own nets:small", "expected package.module:function"),
        ("own_absent:small", "there is no module 'own_absent', neither in "),
        ("sparsebp.absent:small", "there is no module 'sparsebp.absent', neither in "),
        ("own_nets:smal", "own_nets has no 'smal' (did you mean 'small'?)"),
        ("own_nets:small.deep", "own_nets has no 'small.deep'"),
    ],
)
def test_a_wrong_name_says_what_would_be_right(write: Write, name: str, expected: str) -> None:
    write("own_nets", "def small(): ...\n")
    with pytest.raises(ValueError, match=r"^model: ") as caught:
        resolve_model(name)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("\n1 / 0\n", "importing own_broken failed: ZeroDivisionError: division by zero ("),
        ("\nimport own_dependency\n", "ModuleNotFoundError: No module named 'own_dependency' ("),
        ("def make(:\n", "SyntaxError: "),
        ("raise SystemExit(3)\n", "SystemExit: 3 ("),
    ],
)
def test_an_import_that_fails_shows_its_cause(write: Write, source: str, expected: str) -> None:
    write("own_broken", source)
    with pytest.raises(ValueError, match=r"^model: importing own_broken failed: ") as caught:
        resolve_model("own_broken:make")
    assert expected in str(caught.value)
    assert "own_broken.py, line" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_function_that_fails_shows_its_cause(write: Write) -> None:
    write("own_fails", "def make(num_classes):\n  raise KeyError('width')\n")
    with pytest.raises(ValueError, match=r"own_fails:make\(num_classes=7\) failed: KeyError: 'width' \(.*line 2\)"):
        build_model("own_fails:make", 7)


@pytest.mark.parametrize("name", ["own_objects:number", "own_objects:network"])
def test_what_makes_no_network_is_a_type_error(write: Write, name: str) -> None:
    write("own_objects", "from torch import nn\nnumber = 3\nnetwork = nn.ReLU()\n")
    with pytest.raises(TypeError, match=r"expected a function that makes a torch\.nn\.Module"):
        resolve_model(name)


def test_a_function_that_returns_something_else_is_a_type_error(write: Write) -> None:
    write("own_returns", "def make(): return 'network'\n")
    with pytest.raises(TypeError, match=r"returned an object of type str; expected a torch\.nn\.Module"):
        build_model("own_returns:make", 7)


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "MemoryError"])
def test_what_concerns_the_whole_program_passes(write: Write, error: str) -> None:
    write("own_passes", f"def make(): raise {error}\n")
    with pytest.raises(KeyboardInterrupt if error == "KeyboardInterrupt" else MemoryError):
        build_model("own_passes:make")
