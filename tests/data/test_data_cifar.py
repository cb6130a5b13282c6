"""CIFAR-10 as its authors distribute it, in tiny; nothing in its pickles is executed."""

from __future__ import annotations

import io
import os
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from sparsebp.data import open_dataset

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 4, 3072), np.uint8)  # five batches and the test batch, of four pictures each
LABELS = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9], [9, 8, 0, 1]])
CLASSES = [f"kind{i}" for i in range(10)]
STEMS = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


class Python2Pickler(pickle._Pickler):  # type: ignore[misc]
    """Writes text and bytes as Python 2 wrote its ``str``."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_python2_str(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"T" + len(raw).to_bytes(4, "little") + raw)

    dispatch[str] = dispatch[bytes] = save_python2_str


def python2(value: Any) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(value)
    return file.getvalue().replace(b"numpy._core.", b"numpy.core.")


def python_files(dumps: Callable[[Any], bytes]) -> dict[str, bytes]:
    batches = zip(STEMS, PIXELS, LABELS.tolist(), strict=True)
    files = {name: dumps({"data": pixels, "labels": labels, "batch_label": name}) for name, pixels, labels in batches}
    return {**files, "batches.meta": dumps({"label_names": CLASSES, "num_vis": 3072})}


def binary_files() -> dict[str, bytes]:
    records = np.concatenate([LABELS[:, :, None].astype(np.uint8), PIXELS], axis=2)
    files = {f"{name}.bin": batch.tobytes() for name, batch in zip(STEMS, records, strict=True)}
    return {**files, "batches.meta.txt": "\n".join([*CLASSES, ""]).encode()}


def matlab_files() -> dict[str, bytes]:
    scipy_io = pytest.importorskip("scipy.io")

    def saved(content: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        scipy_io.savemat(file, content)
        return file.getvalue()

    batches = zip(STEMS, PIXELS, LABELS.astype(np.uint8), strict=True)
    files = {f"{name}.mat": saved({"data": pixels, "labels": labels[:, None]}) for name, pixels, labels in batches}
    cells = np.array([[name] for name in CLASSES], dtype=object)
    return {**files, "batches.meta.mat": saved({"label_names": cells})}


FORMS: dict[str, tuple[str, str, Callable[[], dict[str, bytes]]]] = {
    "python 2": ("python", "cifar-10-batches-py", lambda: python_files(python2)),
    **{
        f"protocol {p}": ("python", "cifar-10-batches-py", lambda p=p: python_files(lambda v: pickle.dumps(v, p)))
        for p in range(6)
    },
    "binary": ("binary", "cifar-10-batches-bin", binary_files),
    "matlab": ("matlab", "cifar-10-batches-mat", matlab_files),
}


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def packed(path: Path, files: dict[str, bytes], prefix: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_distribution_of_cifar10(tmp_path: Path, form: str) -> None:
    version, folder, make = FORMS[form]
    files = make()
    places = [
        unpacked(tmp_path / "a" / folder, files),
        tmp_path / "a",
        packed(tmp_path / "b" / f"cifar-10-{version}.tar.gz", files, f"{folder}/"),
        tmp_path / "b",
    ]
    for place in places:
        data = open_dataset(place)
        assert data.kind == f"CIFAR-10 ({version})"
        assert data.classes == tuple(CLASSES)
        assert data.train.labels.tolist() == LABELS[:5].ravel().tolist()
        assert data.test.labels.tolist() == LABELS[5].tolist()
        for source, pixels in ((data.train, PIXELS[:5].reshape(-1, 3072)), (data.test, PIXELS[5])):
            for i, planes in enumerate(pixels):
                shown = np.asarray(source.picture(i))
                # 1024 bytes of red, then of green, then of blue, each row by row.
                for channel in range(3):
                    assert (shown[:, :, channel].ravel() == planes[1024 * channel :][:1024]).all()
    assert data.test.name(2) == f"cifar-10-{version}.tar.gz test[2]"


class Evil:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("attack", ["system", "eval", "tofile", "class"])
def test_nothing_in_a_pickle_is_executed(tmp_path: Path, attack: str, protocol: int) -> None:
    trace = tmp_path / "trace"
    evil, asked = {
        "system": (Evil(os.system, f"touch {trace}"), "system"),
        "eval": (Evil(eval, f"open({str(trace)!r}, 'w')"), "eval"),
        "tofile": (Evil(np.ndarray.tofile, PIXELS[0], str(trace)), "(getattr|ndarray.tofile)"),
        "class": (Evil(io.FileIO, str(trace), "w"), "FileIO"),
    }[attack]
    files = python_files(pickle.dumps)
    for content in (evil, {"data": evil, "labels": []}, {"data": PIXELS[0], "labels": LABELS[0].tolist(), "x": [evil]}):
        files["data_batch_1"] = pickle.dumps(content, protocol)
        with pytest.raises(ValueError, match=rf"data_batch_1 is not what .* asks for [\w.]*{asked}, and only plain"):
            open_dataset(unpacked(tmp_path / "cifar-10-batches-py", files))
        assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"cnumpy\ndtype\n}b.", id="state-for-a-function"),
        pytest.param(b"cnumpy\ndtype\nN}X\x04\0\0\0makeNs\x86b.", id="attribute-of-a-function"),
        pytest.param(b"cnumpy\nndarray\n)R(Nlb.", id="state-that-is-no-array"),
        pytest.param(b"\x80\x02cnumpy\nndarray\n)\x81.", id="class-that-is-none"),
        pytest.param(b"(S'touch x'\nios\nsystem\n.", id="instance-of-python-2"),
        pytest.param(b"X\xff\xff\xff\xff", id="cut-off"),
        pytest.param(b"Ptest\n.", id="persistent-id"),
        pytest.param(b"", id="empty"),
    ],
)
def test_pickles_made_by_hand_to_do_harm(tmp_path: Path, content: bytes) -> None:
    files = {**python_files(pickle.dumps), "test_batch": content}
    with pytest.raises(ValueError, match=r"path: .*test_batch is not what CIFAR-10 holds: \S"):
        open_dataset(unpacked(tmp_path / "cifar-10-batches-py", files))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"data": np.array([None, {}], dtype=object), "labels": [0]}, id="objects"),
        pytest.param({"data": np.zeros((1, 3072), "V8"), "labels": [0]}, id="records"),
        pytest.param({"data": np.zeros((1, 3072), np.float32), "labels": [0]}, id="floats"),
        pytest.param({"data": np.zeros((1, 3071), np.uint8), "labels": [0]}, id="too-narrow"),
        pytest.param({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, id="labels-missing"),
        pytest.param({"data": np.zeros((1, 3072), np.uint8), "labels": [[0], [0, 1]]}, id="ragged-labels"),
        pytest.param({"data": [1, 2], "labels": [0]}, id="list"),
        pytest.param([1], id="no-dict"),
    ],
)
def test_pickles_that_hold_something_else(tmp_path: Path, content: Any) -> None:
    files = {**python_files(pickle.dumps), "data_batch_3": pickle.dumps(content)}
    with pytest.raises(ValueError, match=r"path: .*data_batch_3"):
        open_dataset(unpacked(tmp_path / "cifar-10-batches-py", files))


def test_an_archive_leaves_nothing_behind_and_tells_what_is_wrong(tmp_path: Path) -> None:
    path = packed(tmp_path / "x" / "c.tar.gz", binary_files(), "../../")
    assert open_dataset(path).kind == "CIFAR-10 (binary)"
    assert [p.name for p in tmp_path.rglob("*")] == ["x", "c.tar.gz"]
    whole = path.read_bytes()
    for length in (len(whole) // 2, 120, 20, 5):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"c\.tar\.gz is damaged"):
            open_dataset(path)
    some = {name: content for name, content in binary_files().items() if name != "data_batch_4.bin"}
    with pytest.raises(ValueError, match=r"lacks data_batch_4\.bin; get CIFAR-10 anew"):
        open_dataset(packed(tmp_path / "some.tar.gz", some))
    with pytest.raises(ValueError, match="found none in"):
        open_dataset(packed(tmp_path / "other.tar.gz", {"train": b""}))
    short = {**binary_files(), "test_batch.bin": bytes(3000)}
    with pytest.raises(ValueError, match=r"test_batch\.bin .* records of 3073 bytes, got 3000"):
        open_dataset(unpacked(tmp_path / "short", short))


def test_matlab_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = matlab_files()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match="`pip install scipy`, or take the binary"):
        open_dataset(unpacked(tmp_path, files))
