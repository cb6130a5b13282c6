"""The command line: help, output in terminals and files, errors and exit codes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sparsebp
import torch
from sparsebp.benchmark import candidates as candidates
from sparsebp.cli import errors, main
from sparsebp.cli.errors import Exit, reported
from sparsebp.files import named_errors

COMMANDS = ("finetune", "plan", "export", "evaluate", "bench", "info")
SMALL = ("--input-size", "32", "--classes", "10")
BOXES = re.compile("[\u2500-\u257f]")
COLOURS = re.compile(r"\x1b\[[0-9;]*[34][0-9]")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("plan", ...)`` in this process: exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


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


# -- help -----------------------------------------------------------------------------------------


def test_help_lists_the_commands_in_their_order_and_the_exit_codes(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == Exit.OK
    listed = re.findall(r"^  (\w+)  ", out.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(COMMANDS)
    for number in (0, 1, 2, 3, 130, 143):
        assert re.search(rf"\b{number}\s+\w+", out.partition("Exit codes:")[2])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_in_plain_text(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert code == Exit.OK
    assert out.startswith(f"Usage: sparsebp {command}")
    assert not BOXES.search(out)
    assert err == ""
    assert run(command, "-h")[1] == out


def test_no_command_at_all_shows_the_help_and_is_a_usage_error(run: Run) -> None:
    code, out, _ = run()
    assert code == Exit.USAGE
    assert out == run("--help")[1]


def test_the_version(run: Run) -> None:
    assert run("--version") == (Exit.OK, f"sparsebp {sparsebp.__version__}\n", "")


# -- errors of the command line -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["plan", "--nonsense"], "No such option: --nonsense"),
        (["plan", "--budget"], "'--budget' requires an argument"),
        (
            ["plan", "--budget", "10ZB"],
            "--budget: expected a whole number of bytes such as 256KB, 1.5MB or 262144, got '10ZB'",
        ),
        (["plan", "--budget", "0"], "--budget: expected a whole number of bytes"),
        (["plan", "--budget", "0.1MB"], "got '0.1MB', which is 104857.6 bytes"),
        (["plan", "--micro-batch", "0"], "--micro-batch: expected at least 1, got 0"),
        (["plan", "--micro-batch", "some"], "--micro-batch: "),
        (["plan", "--input-size", "1x2x3"], "--input-size: expected 1 to 4096 pixels as 128 or, height first, 128x160"),
        (["plan", "--input-size", "100000"], "--input-size: expected 1 to 4096 pixels"),
        (["plan", "--max-update-ratio", "2"], "--max-update-ratio: expected a share above 0 and up to 1"),
        (["plan", "--max-update-ratio", "nan"], "--max-update-ratio: expected a share above 0 and up to 1"),
        (["plan", "--ratio", "a"], "--ratio: expected GLOB=SHARE with a share from 0 to 1"),
        (["plan", "--ratio", "a=0", "--ratio", "a=1"], "--ratio: 'a' is given twice"),
        (["plan", "--sampler", "best"], "--sampler: expected one of random, cyclic"),
        (["plan", "--save", "a.json", "--min-budget"], "--save: there is no plan to write with --min-budget"),
        (["plan", "--plot", "a.png", "--min-budget"], "--plot: there is no plan to draw with --min-budget"),
        (["bench", "--input-size", "64", "--input-size", "x"], "--input-size: expected 1 to 4096 pixels"),
        (["bench", "--micro-batch", "-1"], "--micro-batch: expected at least 1, got -1"),
        (["bench", "--seconds", "-1"], "--seconds: expected at least 0"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_a_hint(run: Run, arguments: list[str], expected: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (Exit.USAGE, "")
    first, hint = err.splitlines()
    assert first.startswith("sparsebp: error: ")
    assert expected in first
    assert re.fullmatch(r"Try 'sparsebp( \w+)? --help'\.", hint)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["plan", "--model", "mobilenetv2"], Exit.USAGE, "did you mean 'mobilenet_v2'?"),
        (["plan", "--ratio", "layer9.*=1", *SMALL], Exit.USAGE, "'layer9.*' matches no layer"),
        (["plan", "--plot", "/absent/a.png"], Exit.USAGE, "there is no folder /absent"),
        (["bench", "--json", "/absent/a.json"], Exit.USAGE, "--json: there is no folder /absent"),
        (["plan", "--budget", "1KB", *SMALL], Exit.BUDGET, "the smallest budget that works is "),
        (["bench", "--budget", "1KB", *SMALL], Exit.BUDGET, "the smallest budget that works is "),
    ],
)
def test_a_request_that_cannot_be_met(run: Run, arguments: list[str], code: Exit, expected: str) -> None:
    found, _, err = run(*arguments)
    assert found == code
    assert err.splitlines()[-1].startswith("sparsebp: error: ")
    assert expected in err


def test_without_matplotlib_a_plot_is_refused_before_anything_is_computed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run("plan", "--plot", "a.png", *SMALL)
    assert (code, out) == (Exit.USAGE, "")
    assert "pip install 'sparsebp[plot]'" in err


# -- exceptions and exit codes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (ValueError("wrong [3, 4]"), 2, "sparsebp: error: wrong [3, 4]"),
        (ImportError("needs x"), 2, "sparsebp: error: needs x"),
        (sparsebp.UnsupportedModel("model: no"), 2, "sparsebp: error: --model: no"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/a b"), 2, "/a b: no such file or directory"),
        (PermissionError("data: not ours"), 2, "sparsebp: error: --data: not ours"),
        (sparsebp.BudgetExceeded("too small", 2, 1), 3, "sparsebp: error: too small"),
        (OSError(errno.ENOSPC, "No space left on device", "run/a.pt"), 1, "run/a.pt: the disk is full"),
        (OSError(errno.EDQUOT, "x", "run"), 1, "run: the disk quota is used up"),
        (OSError(errno.EIO, "Input/output error", "a"), 1, "a: input/output error"),
        (MemoryError(), 1, "sparsebp: error: out of memory"),
        (FloatingPointError("loss: nan"), 1, "sparsebp: error: loss: nan"),
        (RuntimeError(), 1, "sparsebp: error: RuntimeError"),
        (KeyboardInterrupt(), 130, "sparsebp: interrupted"),
    ],
    ids=repr,
)
def test_an_exception_becomes_a_line_and_an_exit_code(
    error: BaseException, code: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, reported():
        raise error
    assert caught.value.code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(f"{expected}\n")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("error", [AssertionError("x"), KeyError("x"), AttributeError("x"), NotImplementedError("x")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), reported():
        raise error


def test_a_variable_shows_the_traceback_of_every_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBP_TRACEBACK", "1")
    code, _, err = run("plan", "--budget", "1KB", *SMALL)
    assert code == Exit.BUDGET
    assert err.startswith("Traceback (most recent call last):")
    assert err.splitlines()[-1].startswith("sparsebp: error: ")


def test_a_full_disk_names_the_file_that_was_written() -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left on device") as caught, named_errors(Path("run/weights.pt")):
        raise error
    assert errors.message(caught.value) == "run/weights.pt: the disk is full"


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
