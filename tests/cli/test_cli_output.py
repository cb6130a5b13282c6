"""The command line's output: plan, bench and info, in terminals, pipes and files."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sparsebp
import torch
from command_line import BOXES, SMALL
from runs import Run, run
from sparsebp.benchmark import candidates as candidates
from sparsebp.cli.errors import Exit

__all__ = ["run"]  # fixtures

COLOURS = re.compile(r"\x1b\[[0-9;]*[34][0-9]")


def process(*arguments: str, **settings: object) -> subprocess.Popen[str]:
    """The tool as a process of its own, its output in pipes."""
    command = [sys.executable, "-m", "sparsebp", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **settings})


def in_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of the tool in a pseudo-terminal of 80 columns."""
    terminal, end = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "TERM": "xterm-256color", **environment}
    running = process(*arguments, stdin=end, stdout=end, stderr=end, env=env)
    os.close(end)
    written = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            written += piece
    except OSError:  # Linux: the other end is closed
        pass
    os.close(terminal)
    return running.wait(), written.decode()


# -- plan -----------------------------------------------------------------------------------------


def test_a_plan_in_a_file_is_a_plain_table_and_its_bytes(run: Run) -> None:
    code, out, err = run("plan", *SMALL)
    assert (code, err) == (Exit.OK, "")
    assert not BOXES.search(out)
    assert "classifier.1" in out
    assert "of 262,144 bytes" in out
    assert out.isascii()


def test_a_plan_as_json_is_what_the_library_plans(run: Run) -> None:
    options = ["--budget", "1MB", "--micro-batch", "2", "--max-update-ratio", "0.1", "--momentum"]
    ratios = ["--ratio", "features.18.*=0.2", "--ratio", "features.17.*=0", "--no-train-bias"]
    code, out, _ = run("plan", "--json", "--input-size", "32x48", "--classes", "10", *options, *ratios)
    assert code == Exit.OK
    expected = sparsebp.plan(
        sparsebp.models.mobilenet_v2(10),
        "1MB",
        input_size=(3, 32, 48),
        batch_size=2,
        max_update_ratio=0.1,
        momentum=True,
        normalise=True,
        ratios={"features.18.*": 0.2, "features.17.*": 0.0},
        train_bias=False,
    )
    assert json.loads(out) == json.loads(expected.to_json())


def test_a_plan_in_a_file_reads_back_whichever_way_it_was_written(run: Run, tmp_path: Path) -> None:
    code, out, err = run("plan", "--save", str(tmp_path / "a.json"), "--seed", "3", *SMALL)
    assert (code, err) == (Exit.OK, f"saved: {tmp_path / 'a.json'}\n")
    assert "trained layers" in out
    (tmp_path / "b.json").write_text(run("plan", "--json", "--seed", "3", *SMALL)[1])
    saved, printed = (sparsebp.Plan.load(tmp_path / name) for name in ("a.json", "b.json"))
    assert saved == printed
    assert saved.request.seed == 3
    code, _, err = run("plan", "--save", "/absent/a.json", *SMALL)
    assert (code, err) == (Exit.USAGE, "sparsebp: error: --save: there is no folder /absent\n")


def test_the_smallest_budget_works_and_one_byte_less_does_not(run: Run) -> None:
    code, out, _ = run("plan", "--min-budget", *SMALL)
    least = int(out)
    assert code == Exit.OK
    assert json.loads(run("plan", "--min-budget", "--json", *SMALL)[1]) == {"min_budget": least}
    assert run("plan", "--budget", str(least), *SMALL)[0] == Exit.OK
    code, _, err = run("plan", "--budget", str(least - 1), *SMALL)
    assert code == Exit.BUDGET
    assert f"{least:,} bytes" in err


def test_a_plan_of_ones_own_model_drawn(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    source = "import sparsebp\ndef small(): return sparsebp.models.mobilenet_v2(5, 0.35)\n"
    (tmp_path / "cli_models.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, _, err = run("plan", "--model", "cli_models:small", "--input-size", "32", "--plot", "memory.png")
    assert code == Exit.OK
    assert err == "drawn: memory.png\n"
    assert (tmp_path / "memory.png").stat().st_size > 1000


# -- bench and info -------------------------------------------------------------------------------


def test_bench_times_every_size_and_batch_and_keeps_the_numbers(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    sizes = ["--input-size", "32", "--input-size", "32x48", "--micro-batch", "2", "--budget", "64KB"]
    quick = ["--classes", "4", "--repeats", "1", "--seconds", "0", "--threads", str(torch.get_num_threads())]
    code, out, err = run("bench", *sizes, *quick, "--json", str(file))
    assert code == Exit.OK
    assert err.count("batch 2 ...") == 2
    assert not BOXES.search(out)
    found = json.loads(file.read_text())
    assert found["environment"]["sparsebp"] == sparsebp.__version__
    for case, size in zip(found["steps"], [(32, 32), (32, 48)], strict=True):
        assert (case["request"]["height"], case["request"]["width"]) == size
        ours, dense, partial = case["results"]
        assert 0 < ours["arena"] <= case["request"]["budget"] == 2 * 64 * 1024
        assert dense["outside"] > partial["outside"] > ours["arena"] + ours["outside"]
        assert all(result["ms"] > 0 for result in case["results"])
        assert f"{dense['outside']:,}" in out


def test_info_says_what_there_is_and_what_is_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("info")
    assert code == Exit.OK
    found = json.loads(run("info", "--json")[1])
    assert found["isa"] in found["isas"]
    cuda = found["cuda"]
    assert cuda["built"] == bool(cuda["build"])
    why = "" if cuda["usable"] else cuda["reason"]
    for text in (found["torch"], found["location"], cuda["build"], why, found["cpu"]):
        assert text in out
    monkeypatch.setenv("SPARSEBP_ISA", "scalar")
    assert "scalar, forced by SPARSEBP_ISA" in run("info")[1]
    monkeypatch.setenv("SPARSEBP_ISA", "mmx")
    code, _, err = run("info")
    assert code == Exit.USAGE
    assert "mmx" in err


# -- what only a process shows --------------------------------------------------------------------


def test_a_terminal_gets_boxes_and_colours_and_a_pipe_neither() -> None:
    piped = process("bench", "--help")
    code, shown = in_terminal("bench", "--help")
    assert code == Exit.OK
    assert "[default: 128 and 224]" in re.sub(r"\x1b\[[0-9;]*m", "", shown), "brackets in a help text are no markup"
    assert BOXES.search(shown)
    assert COLOURS.search(shown)
    out, _ = piped.communicate()
    assert not BOXES.search(out)
    assert "\x1b" not in out


def test_no_color_and_a_dumb_terminal_are_respected() -> None:
    _, shown = in_terminal("nonsense", NO_COLOR="1")
    assert "sparsebp: error: " in shown
    assert not COLOURS.search(shown)
    _, shown = in_terminal("plan", *SMALL, TERM="dumb")
    assert "classifier" in shown
    assert not BOXES.search(shown)
    assert "\x1b" not in shown


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback() -> None:
    running = process("plan", "--json", *SMALL)
    assert running.stdout is not None
    running.stdout.close()
    _, err = running.communicate()
    assert (running.returncode, err) == (Exit.FAILED, "")


def test_a_full_disk_behind_standard_output() -> None:
    with open("/dev/full", "w") as full:
        running = process("info", stdout=full)
        _, err = running.communicate()
    assert (running.returncode, err) == (Exit.FAILED, "sparsebp: error: standard output: the disk is full\n")


def test_ctrl_c_is_one_line() -> None:
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell may have it ignored
    work = "from sparsebp.cli import main; main(['bench', '--repeats', '1000000', '--seconds', '600'])"
    with subprocess.Popen(
        [sys.executable, "-c", f"{listen}; {work}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stderr is not None
            assert "batch 1" in running.stderr.readline()
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=300)
        finally:
            running.kill()
    assert running.returncode == Exit.INTERRUPTED
    assert err == "sparsebp: stopped by SIGINT\n"


def test_bench_hears_a_ctrl_c_that_arrives_where_a_library_catches_everything(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = candidates.prepare_candidates

    def deaf(*arguments: object) -> candidates.Candidates:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        return build(*arguments)

    monkeypatch.setattr("sparsebp.cli.bench.prepare_candidates", deaf)
    code, _, err = run("bench", "--input-size", "32", "--repeats", "1", "--seconds", "0")
    assert code == Exit.INTERRUPTED
    assert err.endswith("sparsebp: stopped by SIGINT\n")
