"""``sparsebp-runtime train``: what it learns, what it says, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from board_runs import command, environment, pictures, plan, words, write_both, write_plan
from runs import CLASSES, write_pictures
from sparsebp.runtime import Session

__all__ = ["pictures", "plan"]  # fixtures

SHARE = re.compile(r"(before|after): ([0-9.]+) % of ([0-9]+)")


def train(plan: Path, pictures: Path, out: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return command("train", plan, "--data", pictures, "--out", out, *more)


def test_it_learns_and_tells_how_well(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    done = train(plan, pictures, out, "--epochs", 20)
    assert done.returncode == 0, done.stderr
    found = {when: (float(share), int(count)) for when, share, count in SHARE.findall(done.stdout)}
    assert found["before"][1] == found["after"][1] == 16
    assert found["after"][0] > found["before"][0] + 20
    assert Session(out).progress.batches == 20 * 6


def test_the_bits_are_those_of_sessions_that_are_given_the_same_pictures(
    plan: Path, pictures: Path, tmp_path: Path
) -> None:
    from sparsebp.data import open_dataset
    from sparsebp.runtime.order import Order
    from sparsebp.runtime.pictures import Reader

    train(plan, pictures, tmp_path / "out.safetensors", "--steps", 9, "--seed", 3, "--threads", 2)
    data, session = open_dataset(pictures), Session(plan)
    order, reader = Order(len(data.train), 4, 3), Reader(session)
    for step in range(9):
        rows, _ = order.rows(step)
        session.train([reader.of(data.train, i) for i in rows], [int(data.train.labels[i]) for i in rows])
    session.save(tmp_path / "by_hand.safetensors")
    assert (tmp_path / "by_hand.safetensors").read_bytes() == (tmp_path / "out.safetensors").read_bytes()


def test_every_epoch_has_each_picture_once() -> None:
    from sparsebp.runtime.order import Order

    order = Order(10, 4, 0)
    epochs = [[i for step in range(3) for i in order.rows(3 * epoch + step)[0]] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    rows, others = order.rows(4)
    assert sorted(rows + others) == list(range(10))


def test_it_trains_in_place(plan: Path, pictures: Path, tmp_path: Path) -> None:
    own, other = tmp_path / "own.safetensors", tmp_path / "other.safetensors"
    shutil.copy(plan, own)
    assert train(own, pictures, own, "--steps", 5).returncode == 0
    assert train(plan, pictures, other, "--steps", 5).returncode == 0
    assert own.read_bytes() == other.read_bytes()


def test_a_schedule_says_how_long_it_trains(pictures: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.safetensors", steps=7, schedule="linear")
    assert train(plan, pictures, tmp_path / "out.safetensors").returncode == 0
    assert Session(tmp_path / "out.safetensors").progress.batches == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_two_steps_and_the_run_goes_on(
    plan: Path, pictures: Path, tmp_path: Path, number: int
) -> None:
    out, whole = tmp_path / "out.safetensors", tmp_path / "whole.safetensors"
    long = ("train", plan, "--data", pictures, "--out", out, "--steps", 600, "--every", 1000, "--resume")
    process = subprocess.Popen(
        words(*long), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("before"):
            break
    time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.count("\n") == 1
    assert f"resume from {out}" in said
    reached = Session(out).progress.batches
    assert 0 < reached < 600
    done = command(*long)
    assert done.returncode == 0, done.stderr
    assert f"goes on after step {reached:,}" in done.stdout
    train(plan, pictures, whole, "--steps", 600)
    assert out.read_bytes() == whole.read_bytes()


def test_pictures_that_cannot_be_read_are_named_and_left_out(plan: Path, tmp_path: Path) -> None:
    pictures = write_both(tmp_path / "set")
    torn = pictures / "train" / CLASSES[0] / "00.png"
    torn.write_bytes(torn.read_bytes()[:60])
    (pictures / "test" / CLASSES[1] / "00.png").write_bytes(b"")
    done = train(plan, pictures, tmp_path / "out.safetensors", "--epochs", 3)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("00.png") == 2
    assert "of 15 held-out" in done.stdout
    again = train(plan, pictures, tmp_path / "again.safetensors", "--epochs", 3)
    assert again.returncode == 0
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "out.safetensors").read_bytes()


def test_a_new_class_takes_a_spare_output(pictures: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.safetensors", classes=CLASSES[:3], spare=2)
    refused = train(plan, pictures, tmp_path / "out.safetensors")
    assert refused.returncode == 2
    assert "the plan has no class red; it has blue, green, grey, and room for 2 more" in refused.stderr
    done = train(plan, pictures, tmp_path / "out.safetensors", "--allow-new-classes", "--epochs", 30)
    assert done.returncode == 0, done.stderr
    assert list(Session(tmp_path / "out.safetensors").classes or ()) == list(CLASSES)
    red = command("predict", tmp_path / "out.safetensors", pictures / "test" / "red" / "00.png", "--json")
    assert json.loads(red.stdout)["class"] == "red"


def test_a_delta_gives_the_trained_file_again(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out, delta, joined = (tmp_path / name for name in ("out.safetensors", "changes.delta", "joined.safetensors"))
    assert train(plan, pictures, out, "--steps", 3, "--delta", delta).returncode == 0
    assert delta.stat().st_size < out.stat().st_size
    done = command("delta", "apply", plan, delta, "--out", joined)
    assert done.returncode == 0, done.stderr
    assert joined.read_bytes() == out.read_bytes()
    in_place = train(out, pictures, out, "--steps", 1, "--delta", delta)
    assert in_place.returncode == 2
    assert "nothing is left to compare with" in in_place.stderr


def test_an_out_that_is_there_is_not_replaced_unasked(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"precious")
    for more in ((), ("--resume",)):
        refused = train(plan, pictures, out, *more)
        assert refused.returncode == 2
        assert "--overwrite replaces it" in refused.stderr
        assert out.read_bytes() == b"precious"
    assert train(plan, pictures, out, "--steps", 1, "--overwrite").returncode == 0


def test_what_was_begun_goes_on_as_it_was_begun(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    train(plan, pictures, out, "--steps", 2)
    other = write_both(tmp_path / "others", train=5)
    for more, reason in [
        ((pictures, "--steps", 4), "length: the run of"),
        ((pictures, "--seed", 1), "seed: the run of"),
        ((pictures, "--rate", 2), "rate: the run of"),
        ((other,), "the pictures have changed"),
    ]:
        refused = train(plan, more[0], out, *more[1:], "--resume")
        assert refused.returncode == 2
        assert reason in refused.stderr
        assert refused.stderr.count("\n") == 1
    done = train(plan, pictures, out, "--resume")
    assert done.returncode == 0
    assert "after" in done.stdout


def test_a_damaged_note_of_the_run_says_what_to_do(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    train(plan, pictures, out, "--steps", 2)
    note = tmp_path / "out.safetensors.run.json"
    for text in ("", "{", "[]", '{"format": "sparsebp-run", "version": 2}', '{"format": "sparsebp-run", "version": 1}'):
        note.write_text(text)
        refused = train(plan, pictures, out, "--steps", 2, "--resume")
        assert refused.returncode == 2
        assert "remove it to begin anew" in refused.stderr


def limit_files() -> None:
    """Files of more than 20,000 bytes cannot be written any more, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_loses_nothing(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    train(plan, pictures, out, "--steps", 4)
    before = out.read_bytes()
    assert len(before) > 20_000
    full = command("train", out, "--data", pictures, "--out", out, "--steps", 4, preexec_fn=limit_files)
    assert full.returncode != 0
    assert full.stderr.count("\n") == 1
    assert out.read_bytes() == before
    assert list(tmp_path.glob(".*.partial")) == []


def test_a_diverging_run_stops_and_keeps_what_was_saved(pictures: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.safetensors", lr=1e30)
    done = train(plan, pictures, tmp_path / "out.safetensors", "--steps", 50)
    assert done.returncode == 1
    assert "take a smaller --rate" in done.stderr.lower()
    assert command("info", tmp_path / "out.safetensors").returncode == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("no.safetensors", "{set}"), "no.safetensors"),
        (("{plan}", "nowhere"), "--data: there is no file or folder nowhere"),
        (("{cut}", "{set}"), "cut"),
        (("{foreign}", "{set}"), "sparsebp.export"),
        (("{plan}", "{wrong}"), "--data: the plan has no class cat"),
    ],
)
def test_wrong_files_are_refused_in_one_line(
    plan: Path, pictures: Path, tmp_path: Path, given: tuple[str, str], reason: str
) -> None:
    import safetensors.numpy

    cut, foreign, wrong = tmp_path / "cut.safetensors", tmp_path / "foreign.safetensors", tmp_path / "wrong"
    cut.write_bytes(plan.read_bytes()[:5000])
    safetensors.numpy.save_file({"a": __import__("numpy").zeros(3)}, foreign)
    write_pictures(wrong, 2)
    (wrong / CLASSES[0]).rename(wrong / "cat")
    places = {"plan": plan, "set": pictures, "cut": cut, "foreign": foreign, "wrong": wrong}
    file, data = (word.format(**places) for word in given)
    refused = train(Path(file), Path(data), tmp_path / "out.safetensors")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert reason in refused.stderr
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "words_given", [["train"], ["train", "p", "--epochs", "0"], ["walk"], [], ["bench", "--threads", "65", "p"]]
)
def test_wrong_options_exit_with_two(words_given: list[str]) -> None:
    refused = command(*words_given)
    assert refused.returncode == 2
    assert "usage" in refused.stderr


def test_no_torch_is_loaded(plan: Path) -> None:
    program = (
        "import sys; from sparsebp.runtime.command import main\n"
        f"try: main(['info', {str(plan)!r}])\nexcept SystemExit: pass\n"
        "wrong = {'torch', 'PIL', 'typer', 'rich', 'safetensors', 'numpy.random', '_hashlib'} & set(sys.modules)\n"
        "assert not wrong, wrong"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment(), stdout=subprocess.DEVNULL)
