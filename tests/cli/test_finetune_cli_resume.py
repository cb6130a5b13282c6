"""``sparsebp finetune --resume``: after Ctrl-C, SIGTERM, a full disk, and with what else lies in the folder."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import RUN, Run, assert_ascii, assert_finished, assert_same_run, finetune, here, interrupt, names, run
from sparsebp.cli.errors import Exit
from sparsebp.cli.progress import RunProgress
from sparsebp.finetuning import checkpoint

__all__ = ["here", "run"]  # fixtures

OPTIONS = [*RUN, "--epochs", "2", "--checkpoint-every", "3"]


@pytest.fixture
def undisturbed(run: Run, here: Path) -> Path:
    assert run(*OPTIONS, "--out", "undisturbed")[0] == Exit.OK
    return here / "undisturbed"


def stop_at(step: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends this process a signal in the given step of what it runs next."""
    steps, real = [], RunProgress.stepped

    def stepped(self: RunProgress, *arguments: Any) -> None:
        real(self, *arguments)
        steps.append(1)
        if len(steps) == step:
            signal.raise_signal(number)

    monkeypatch.setattr(RunProgress, "stepped", stepped)


def stopped(run: Run, step: int, number: int, *options: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(step, number, patch)
        code, _, err = run(*options)
    assert code == (Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED), err
    return err


def test_ctrl_c_and_sigterm_leave_a_run_that_resumes_to_the_same_bits(run: Run, here: Path, undisturbed: Path) -> None:
    err = stopped(run, 2, signal.SIGINT, *OPTIONS, "--out", "run")
    assert "run/checkpoint-000002" in err
    assert err.count("\n") == 1
    err = stopped(run, 5, signal.SIGTERM, *OPTIONS, "--out", "run", "--resume")
    newest = checkpoint.latest(here / "run")
    assert newest is not None
    assert newest.name in err
    code, out, _ = run("finetune", "--resume", "--out", "run", "--threads", "1", "--workers", "0")
    assert code == Exit.OK
    assert "resumed: epoch 2, step 2 of 5" in out
    assert_finished(here / "run")
    assert_same_run(here / "run", undisturbed)


def test_resume_without_options_goes_on_in_the_usual_folder(run: Run, here: Path, undisturbed: Path) -> None:
    stopped(run, 2, signal.SIGINT, *OPTIONS)
    assert names(here / "sparsebp-run") == {"checkpoint-000002"}
    assert run("finetune", "--resume", "--workers", "0")[0] == Exit.OK
    assert_same_run(here / "sparsebp-run", undisturbed)


def test_ctrl_c_of_a_process_in_a_pipe(here: Path, run: Run, undisturbed: Path) -> None:
    """Nothing but plain lines, and the exit code that a shell expects."""
    package = str(Path(checkpoint.__file__).parents[2])
    command = [sys.executable, "-m", "sparsebp", *OPTIONS, "--epochs", "200", "--out", "run", "--workers", "1"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": package}
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch 3"):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=300)
    assert process.returncode == Exit.INTERRUPTED, err
    assert_ascii("".join(lines) + out + err)
    newest = checkpoint.latest(here / "run")
    assert newest is not None
    assert newest.name in err
    assert "Traceback" not in err


# -- what is there already -------------------------------------------------------------------------------


def test_a_folder_with_a_run_wants_resume(run: Run, undisturbed: Path) -> None:
    code, _, err = run(*OPTIONS, "--out", "undisturbed")
    assert code == Exit.USAGE
    assert "undisturbed holds a run already" in err
    assert "resume" in err


def test_a_finished_run_says_so(run: Run, here: Path, undisturbed: Path) -> None:
    before = (undisturbed / "model.safetensors").read_bytes()
    code, out, _ = run("finetune", "--resume", "--out", "undisturbed")
    assert code == Exit.OK
    assert "finished already" in out
    assert (undisturbed / "model.safetensors").read_bytes() == before


def test_another_setting_is_refused_by_name(run: Run, here: Path) -> None:
    stopped(run, 2, signal.SIGINT, *OPTIONS, "--out", "run")
    code, _, err = run("finetune", "--resume", "--out", "run", "--lr", "0.3")
    assert code == Exit.USAGE
    assert err.startswith(
        "sparsebp: error: --lr: the run of run/checkpoint-000002 began with 0.1, got 0.3; leave it out"
    )


BEGAN = ["--layer-rate", "*=0.5", "--micro-batch", "2", "--no-train-bias", "--keep", "best"]
OTHERS: list[tuple[list[str], str]] = [
    (["--micro-batch", "4"], "--micro-batch: .* began with 2, got 4"),
    (["--layer-rate", "*=1"], r"--layer-rate: .* began with \*=0\.5, got \*=1"),
    (["--budget", "17KB"], "--budget: .* began with 16384, got 17408"),
    (["--keep", "last"], "--keep: .* began with best, got last"),
    (["--patience", "3"], "--patience: .* began with none, got 3"),
    (["--no-normalise"], "--no-normalise: .* began without it, it is given"),
    (["--augment", "flip"], "--augment: .* began with shift,flip, got flip"),
    (["--ratio", "features.3.*=0.5"], r"--ratio: .* began with none, got features\.3\.\*=0\.5"),
    (["--mean", "0.5"], "--mean: .* began with 0.485,0.456,0.406, got 0.5,0.5,0.5"),
    (["--resize", "stretch"], "--resize: .* began with crop, got stretch"),
    (["--levels", "0,4095"], "--levels: .* began with none, got 0,4095"),
]


def test_what_contradicts_a_run_is_named_by_its_option(run: Run, here: Path) -> None:
    stopped(run, 2, signal.SIGINT, *OPTIONS, *BEGAN, "--out", "run")
    for options, reason in OTHERS:
        code, _, err = run("finetune", "--resume", "--out", "run", *options)
        assert code == Exit.USAGE
        assert re.match(f"sparsebp: error: {reason}; leave it out to go on, or choose another --out\n$", err), err


def test_no_recipe_has_to_be_what_a_run_began_with(run: Run, here: Path) -> None:
    for began, code in (([], Exit.USAGE), (["--no-recipe"], Exit.OK)):
        out = f"run{code}"
        stopped(run, 2, signal.SIGINT, *OPTIONS, *began, "--out", out)
        found, _, err = run("finetune", "--resume", "--out", out, "--no-recipe", "--workers", "0")
        assert found == code
        assert err.startswith("sparsebp: error: --no-recipe: the run began with settings that were chosen" * bool(code))


def test_another_model_and_other_weights_are_refused_wherever_their_file_is(run: Run, here: Path) -> None:
    stopped(run, 2, signal.SIGINT, *OPTIONS, "--out", "run")
    (here / "others.pt").write_bytes((here / "weights.pt").read_bytes() + b"x")
    (here / "weights.pt").rename(here / "moved.pt")
    for options, reason in (
        (["--weights", "others.pt"], "--weights: others.pt differs from what the run began with"),
        (["--weights", "moved.pt", "--model", "mobilenet_v2"], "--model: the run began with tiny:tiny"),
    ):
        code, _, err = run("finetune", "--resume", "--out", "run", *options)
        assert (code, reason in err) == (Exit.USAGE, True), err
    assert run("finetune", "--resume", "--out", "run", "--weights", "moved.pt", "--workers", "0")[0] == Exit.OK


def test_of_the_options_for_pictures_only_some_need_be_given_again(run: Run, here: Path) -> None:
    stopped(run, 2, signal.SIGINT, *OPTIONS, "--out", "run", "--range=-1,1", "--resize", "pad")
    again = ["finetune", "--resume", "--out", "run", "--workers", "0"]
    code, _, err = run(*again, "--resize", "stretch")
    assert (code, "--resize: " in err) == (Exit.USAGE, True), err
    assert run(*again, "--resize", "pad")[0] == Exit.OK


def test_a_folder_that_changed_is_gone_on_with_and_told_in_a_line(run: Run, here: Path) -> None:
    stopped(run, 2, signal.SIGINT, *OPTIONS, "--out", "run")
    for folder in (here / "pictures").iterdir():
        for file in sorted(folder.iterdir())[:4]:
            file.with_name(f"new-{file.name}").write_bytes(file.read_bytes())
    (here / "pictures" / "red" / "01.png").unlink()
    stopped(run, 1, signal.SIGINT, "finetune", "--resume", "--out", "run", "--workers", "0")
    code, out, err = run("finetune", "--resume", "--out", "run", "--workers", "0")
    assert (code, err) == (Exit.OK, "")
    assert "resumed: epoch 1, step 3 of 7" in out
    assert "\npictures: " not in out, "that was told before"
    add = here / "pictures" / "red" / "late.png"
    add.write_bytes((here / "pictures" / "red" / "02.png").read_bytes())
    code, out, _ = run("finetune", "--resume", "--out", "run", "--workers", "0")
    assert code == Exit.OK
    assert re.search(r"^pictures: (1 new, too late for this run; )?\d+ to test with$", out, re.MULTILINE), out


def test_other_classes_are_refused(run: Run, here: Path) -> None:
    stopped(run, 2, signal.SIGINT, *OPTIONS, "--out", "run")
    (here / "pictures" / "red").rename(here / "pictures" / "scarlet")
    code, _, err = run("finetune", "--resume", "--out", "run")
    assert code == Exit.USAGE
    assert "other data: classes differs (new: scarlet; gone: red)" in err


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "training.safetensors"])
def test_a_damaged_checkpoint_is_refused_by_its_file(name: str, run: Run, here: Path) -> None:
    stopped(run, 2, signal.SIGINT, *OPTIONS, "--out", "run")
    newest = checkpoint.latest(here / "run")
    assert newest is not None
    data = bytearray((newest / name).read_bytes())
    data[len(data) // 2] ^= 1
    (newest / name).write_bytes(data)
    code, _, err = run("finetune", "--resume", "--out", "run")
    assert code == Exit.USAGE
    assert str(Path("run") / newest.name / name) in err
    assert "Traceback" not in err


def test_resume_of_nothing_with_data_starts(run: Run, here: Path, undisturbed: Path) -> None:
    assert run(*OPTIONS, "--resume", "--out", "run")[0] == Exit.OK
    assert_same_run(here / "run", undisturbed)


def test_a_run_that_a_program_began_is_no_crash(run: Run, here: Path) -> None:
    """It does not say where model and pictures came from."""
    interrupt(here / "run", "stepped", 2)
    code, _, err = run("finetune", "--resume", "--out", "run")
    assert code == Exit.USAGE
    assert "--data" in err
    code, _, err = run("finetune", "--resume", "--out", "run", "--data", "pictures")
    assert code == Exit.USAGE
    assert err.startswith("sparsebp: error: ")


def test_evaluate_takes_weights_that_a_program_made(run: Run, here: Path) -> None:
    finetune(here / "run", data=here / "pictures", seed=3, epochs=1)
    report = json.loads((here / "run" / "report.json").read_text())
    assert report["origin"] == {"test_share": "0.2", "seed": "3", "split": "name"}
    command = ["evaluate", "--weights", "run/model.safetensors", "--data", "pictures", "--workers", "0", "--json"]
    code, out, err = run(*command, "--model", "tiny:tiny")
    assert code == Exit.OK, err
    assert json.loads(out)["classes"] == report["history"]["classes"]


# -- a full disk -----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for one checkpoint and a half."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(place)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    # Lazily: what failed may still be held by the traceback. A mount left behind would trouble every later test.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_named_and_leaves_a_run_that_resumes(
    run: Run, here: Path, small_disk: Path, undisturbed: Path
) -> None:
    code, _, err = run(*OPTIONS, "--out", str(small_disk / "run"))
    assert code == Exit.FAILED
    assert "the disk is full" in err
    assert str(small_disk / "run") in err
    assert names(small_disk / "run") == {"checkpoint-000001"}
    assert checkpoint.read(small_disk / "run" / "checkpoint-000001").facts["position"]["step"] == 0
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert run("finetune", "--resume", "--out", str(small_disk / "run"))[0] == Exit.OK
    assert_same_run(small_disk / "run", undisturbed)


def test_a_cache_that_does_not_fit_the_disk_is_refused_before_training(run: Run, here: Path, small_disk: Path) -> None:
    code, _, err = run(*OPTIONS, "--out", str(small_disk / "run"), "--cache", "disk", "--budget", "1MB")
    assert code == Exit.FAILED
    assert "the disk is full" in err
    assert str(small_disk) in err
    assert names(small_disk / "run") == set()
