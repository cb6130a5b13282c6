"""The example for boards: it does what a session in Python does, and says what is wrong in a line."""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from adapt_program import answer, build, call, export, picture, pictures, trained
from c_library import installed_once
from networks import tiny_mobilenet
from sparsebp.data import Preprocess
from sparsebp.runtime import Session, apply_delta

SIDE = 16


@pytest.fixture(scope="module")
def adapt(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    return [build(tmp_path_factory.mktemp("adapt"), installed_once(tmp_path_factory))]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return export(tmp_path / "plan", tiny_mobilenet(classes=3), SIDE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pictures(tmp_path / "pictures")


Adapt = list[str | Path]


def test_it_trains_the_bits_of_a_session(adapt: Adapt, plan: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("a file beside the folders")
    (folder / "bee" / "notes.txt").write_text("a file beside the pictures")
    done = call(adapt, "train", plan, tmp_path / "out", 2, folder, "--delta", tmp_path / "delta")
    assert (done.returncode, done.stderr) == (0, "")
    counted = r"before: \d of 3 held-out pictures recognised\nafter: \d of 3 held-out pictures recognised\n"
    assert re.fullmatch(counted + r".*/out: saved, \d+\.\d MB at most, \d+\.\d now without files\n", done.stdout)
    trained(plan, folder, 2).save(tmp_path / "expected")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()
    apply_delta(plan, tmp_path / "delta", tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "expected").read_bytes()


def test_it_goes_on_in_the_file_that_it_wrote(adapt: Adapt, plan: Path, folder: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    trained(plan, folder, 1).save(first)
    trained(first, folder, 1).save(tmp_path / "second")
    for _ in range(2):
        assert call(adapt, "train", plan, plan, 1, folder, "--threads", 2).returncode == 0
    assert plan.read_bytes() == (tmp_path / "second").read_bytes()


def test_it_reports_every_hundred_steps(adapt: Adapt, plan: Path, folder: Path, tmp_path: Path) -> None:
    done = call(adapt, "train", plan, tmp_path / "out", 14, folder)
    memory = r"(\d+\.\d) MB at most, \d+\.\d now without files"
    line = rf"step (\d+): loss (\d+\.\d+), (\d+) of 100 known before, (\d+\.\d) ms a step, {memory}"
    first, second = re.findall(line, done.stdout)  # of 14 epochs of 15 pictures
    assert (first[0], second[0]) == ("100", "200")
    assert 0 < float(second[1]) < float(first[1])
    assert int(first[2]) < int(second[2]) <= 100
    assert float(second[4]) < 16


def test_it_predicts_names_and_probabilities(adapt: Adapt, plan: Path, tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{seed}.ppm", seed) for seed in range(3)]
    done = call(adapt, "predict", plan, *files)
    session = Session(plan)
    assert done.stdout.splitlines() == [f"{file}: {answer(session, file)}" for file in files]


def test_a_raw_frame_is_what_the_picture_is(adapt: Adapt, plan: Path, folder: Path, tmp_path: Path) -> None:
    ppm, raw = picture(tmp_path / "a.ppm", 1), picture(tmp_path / "a.rgb", 1)
    expected = call(adapt, "predict", plan, ppm).stdout.split(":")[1]
    assert call(adapt, "predict", plan, raw, "--raw", "60x40").stdout.split(":")[1] == expected
    with (tmp_path / "two").open("w+b") as camera:
        camera.write(2 * raw.read_bytes())
        camera.seek(0)
        assert call(adapt, "predict", plan, "-", "-", "--raw", "60x40", stdin=camera).stdout == 2 * f"-:{expected}"
    frames = pictures(tmp_path / "frames", ending=".rgb")
    assert call(adapt, "train", plan, tmp_path / "out", 1, frames, "--raw", "60x40").returncode == 0
    trained(plan, folder, 1).save(tmp_path / "expected")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("header", [b"P6 60 40 255\n", b"P6\n# by a camera\n60\t40 # sides\n#\n255\n"])
def test_a_ppm_may_have_comments(adapt: Adapt, plan: Path, tmp_path: Path, header: bytes) -> None:
    raw, file = picture(tmp_path / "a.rgb", 1), tmp_path / "b.ppm"
    file.write_bytes(header + raw.read_bytes())
    assert (
        call(adapt, "predict", plan, file).stdout.split(":")[1:]
        == (call(adapt, "predict", plan, picture(tmp_path / "c.ppm", 1)).stdout.split(":")[1:])
    )


def test_a_picture_that_cannot_be_read_is_left_out(adapt: Adapt, plan: Path, folder: Path, tmp_path: Path) -> None:
    broken = folder / "ant" / "7.ppm"
    broken.write_bytes(picture(tmp_path / "a.ppm", 1).read_bytes()[:-1])
    done = call(adapt, "train", plan, tmp_path / "out", 1, folder)
    assert done.returncode == 0
    assert done.stderr.startswith(f"{broken}: left out: it ends too early")
    done = call(adapt, "predict", plan, broken, folder / "ant" / "1.ppm")
    assert (done.returncode, len(done.stdout.splitlines()), len(done.stderr.splitlines())) == (4, 1, 1)


def test_training_that_diverges_saves_nothing(adapt: Adapt, folder: Path, tmp_path: Path) -> None:
    plan = export(tmp_path / "plan", tiny_mobilenet(classes=3), SIDE, lr=1e38)
    done = call(adapt, "train", plan, tmp_path / "out", 1, folder)
    assert (done.returncode, "rates" in done.stderr) == (6, True)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_the_file_that_was_there(adapt: Adapt, plan: Path, folder: Path) -> None:
    before = plan.read_bytes()

    def fill_up() -> None:  # a file may not become as large as a plan
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2))

    done = call(adapt, "train", plan, plan, 1, folder, preexec_fn=fill_up, restore_signals=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (5, 1)
    assert "cannot be written" in done.stderr
    assert plan.read_bytes() == before
    assert sorted(path.name for path in plan.parent.iterdir()) == ["pictures", "plan"]


def _foreign(place: Path) -> None:
    (place / "plan").write_bytes(bytes(100))


def _no_plan(place: Path) -> None:
    (place / "plan").unlink()


def _truncated(place: Path) -> None:
    (place / "plan").write_bytes((place / "plan").read_bytes()[:-100])


def _nameless(place: Path) -> None:
    export(place / "plan", tiny_mobilenet(classes=3), SIDE, classes=None)


def _stretched(place: Path) -> None:
    export(place / "plan", tiny_mobilenet(classes=3), SIDE, preprocess=Preprocess((SIDE, SIDE), resize="stretch"))


def _no_bytes(place: Path) -> None:
    export(place / "plan", tiny_mobilenet(classes=3), SIDE, preprocess=None)


def _unknown_class(place: Path) -> None:
    picture(place / "pictures" / "wasp" / "1.ppm", 1)


def _no_pictures(place: Path) -> None:
    shutil.rmtree(place / "pictures")
    (place / "pictures").mkdir()


def _no_folder(place: Path) -> None:
    shutil.rmtree(place / "pictures")


def _all_broken(place: Path) -> None:
    for file in (place / "pictures").rglob("*.ppm"):
        file.write_bytes(b"GIF89a")


BAD_FILES = {
    _foreign: (3, "header"),
    _truncated: (3, "plan"),
    _no_plan: (3, "No such file"),
    _nameless: (3, "classes="),
    _stretched: (3, "crop"),
    _no_bytes: (3, "preprocess"),
    _unknown_class: (4, "wasp: no class"),
    _no_pictures: (4, "nothing to train on"),
    _no_folder: (4, "No such file"),
    _all_broken: (4, "no picture could be read"),
}


@pytest.mark.parametrize("spoil", BAD_FILES, ids=lambda spoil: spoil.__name__.strip("_"))
def test_what_cannot_be_trained_is_named(
    adapt: Adapt, plan: Path, folder: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(tmp_path)
    code, reason = BAD_FILES[spoil]
    done = call(adapt, "train", plan, tmp_path / "out", 1, folder)
    assert (done.returncode, reason in done.stderr.splitlines()[-1]) == (code, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_not_there_is_named(adapt: Adapt, plan: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "out"
    done = call(adapt, "train", plan, out, 1, folder)
    assert (done.returncode, done.stderr) == (5, f"{out}: cannot be written: No such file or directory\n")


BAD_PICTURES = {
    "empty": (b"", "no binary PPM"),
    "text": (b"P3 1 1 255\n1 2 3\n", "no binary PPM"),
    "no height": (b"P6 20\n", "header is damaged"),
    "no pixels": (b"P6 0 20 255\n", "header is damaged"),
    "too wide": (b"P6 99999999999 20 255\n", "header is damaged"),
    "deep": (b"P6 1 1 65535\n" + bytes(6), "8 bits"),
    "short": (b"P6 2 2 255\n" + bytes(11), "ends too early"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_picture_is_named(adapt: Adapt, plan: Path, tmp_path: Path, kind: str) -> None:
    data, reason = BAD_PICTURES[kind]
    (tmp_path / "bad.ppm").write_bytes(data)
    done = call(adapt, "predict", plan, tmp_path / "bad.ppm")
    assert (done.returncode, done.stdout) == (4, "")
    assert reason in done.stderr


@pytest.mark.parametrize(("size", "reason"), [("60x41", "ends too early"), ("60x39", "more bytes")])
def test_a_frame_of_another_size_is_refused(adapt: Adapt, plan: Path, tmp_path: Path, size: str, reason: str) -> None:
    done = call(adapt, "predict", plan, picture(tmp_path / "a.rgb", 1), "--raw", size)
    assert (done.returncode, reason in done.stderr) == (4, True)


BAD_COMMANDS = {
    "": "usage",
    "train": "usage",
    "train a b 1": "usage",
    "predict a": "usage",
    "train a b 1 c --delta": "usage",
    "train a b 1 c --what 3": "usage",
    "train a b none c": "EPOCHS",
    "train a b 0 c": "EPOCHS",
    "predict a b --threads 65": "--threads",
    "predict a b --raw 640": "--raw",
    "predict a b --raw 0x5": "--raw",
    "predict a b --raw 640x480x3": "--raw",
}


@pytest.mark.parametrize("words", BAD_COMMANDS)
def test_a_wrong_command_is_named(adapt: Adapt, words: str) -> None:
    done = call(adapt, *words.split())
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert BAD_COMMANDS[words] in done.stderr
