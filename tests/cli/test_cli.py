"""The command line: help, errors and exit codes."""

from __future__ import annotations

import errno
import re
import sys
from pathlib import Path

import pytest
import sparsebp
from command_line import BOXES, SMALL
from runs import Run, run
from sparsebp.cli import errors
from sparsebp.cli.errors import Exit, reported
from sparsebp.files import named_errors

__all__ = ["run"]  # fixtures

COMMANDS = ("finetune", "plan", "export", "evaluate", "predict", "merge", "bench", "info")


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
        (["plan", "--micro-batch", "0"], "--micro-batch: expected a whole number of at least 1, got '0'"),
        (["plan", "--micro-batch", "some"], "--micro-batch: expected a whole number of at least 1, got 'some'"),
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
        (["bench", "--micro-batch", "-1"], "--micro-batch: expected a whole number of at least 1, got '-1'"),
        (["bench", "--seconds", "-1"], "--seconds: expected a number of at least 0, got '-1'"),
        (["evaluate", "--worst", "-1"], "--worst: expected a whole number of at least 0, got '-1'"),
        (["evaluate", "--batch-size", "0"], "--batch-size: expected a whole number of at least 1, got '0'"),
        (["predict", "--top", "2.5"], "--top: expected a whole number of at least 1, got '2.5'"),
        (["finetune", "--workers", "-1"], "--workers: expected a whole number of at least 0, got '-1'"),
        (["finetune", "--patience", "0"], "--patience: expected a whole number of at least 1, got '0'"),
        (["finetune", "--dropout", "1"], "--dropout: expected a number from 0 to 0.99, got '1'"),
        (["export", "--spare-classes", "few"], "--spare-classes: expected a whole number of at least 0, got 'few'"),
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
        (sparsebp.BudgetExceeded("budget: 1 byte", 2, 1), 3, "sparsebp: error: --budget: 1 byte"),
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
