"""Which subcommands, options, targets and files there are, of all programs that are this project's."""

from __future__ import annotations

import contextlib
import functools
import io
import re

import pytest
from documented import OURS, ROOT, Command
from sparsebp.cli import main
from sparsebp.runtime.command import main as runtime_main

OPTION = r"--[a-z][a-z0-9-]*"
_MAKEFILES = [ROOT / "Makefile", *sorted(ROOT.glob("*/*.mk")), *sorted(ROOT.glob("tests/*/*.mk"))]


def called(words: list[str]) -> tuple[int, str]:
    """The exit code of one of our commands, run in this process, and what it printed."""
    program = {"sparsebp": main, "sparsebp-runtime": runtime_main}[words[0]]
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written), pytest.raises(SystemExit) as caught:
        program(words[1:])
    code = caught.value.code or 0
    return (code, written.getvalue()) if isinstance(code, int) else (1, f"{written.getvalue()}{code}")


@functools.cache
def help_of(*words: str) -> str:
    """What ``--help`` prints, or "" if there is no such command."""
    code, written = called([*words, "--help"])
    return written if code == 0 else ""


@functools.cache
def all_options() -> set[str]:
    """The options of every program of the project."""
    found: set[str] = set()
    for program in OURS:
        listed = re.findall(r"^ {2,4}([a-z]+) ", help_of(program), re.MULTILINE)
        for words in [(program,), *((program, name) for name in listed)]:
            found |= {*re.findall(OPTION, help_of(*words))}
    for file in [*ROOT.glob("bench/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("examples/board/options.c")]:
        found |= {*re.findall(OPTION, file.read_text())}
        found |= {_option_of(name) for name in re.findall(r"\b([a-z_]+): ", file.read_text())}
    return found


def _option_of(parameter: str) -> str:
    """As typer calls a function's parameter."""
    return f"--{parameter.replace('_', '-')}"


@functools.cache
def made() -> set[str]:
    """The makefiles' targets and variables."""
    text = "\n".join(file.read_text() for file in _MAKEFILES)
    lists = dict(re.findall(r"^(\w+) := (.+)", text, re.MULTILINE))
    rules = " ".join(re.findall(r"^([^\t#=:]+):(?!=)", text, re.MULTILINE))
    rules = re.sub(r"\$\((\w+)\)", lambda name: lists.get(name[1], ""), rules)
    return {*rules.split(), *re.findall(r"\$\((\w+)\)", text)}


def unknown(command: Command) -> list[str]:
    """The words of a command that name what is not there."""
    words = command.ours() or list(command.words)
    options = [word.partition("=")[0] for word in words if re.fullmatch(OPTION + "(=.*)?", word)]
    match words:
        case [("sparsebp" | "sparsebp-runtime") as program, *rest]:
            return _of_ours(program, rest, options)
        case [first, *_] if first.startswith("--"):
            return [option for option in options if option not in all_options()]
        case ["torchrun", *rest]:  # its own options come first, and all have a value
            begin = next(i for i in range(0, len(rest), 2) if rest[i] == "-m" or not rest[i].startswith("--"))
            inner = rest[begin + 1 :] if rest[begin] == "-m" else ["python", *rest[begin:]]
            return unknown(Command(command.page, command.line, tuple(inner)))
        case ["make", *targets]:
            return [target for target in targets if target.partition("=")[0] not in made()]
        case ["python", "-m", "pytest", *places]:
            return [place for place in places if not (ROOT / place.partition("::")[0]).exists()]
        case ["python", file, *_]:
            if not (ROOT / file).is_file():
                return [file]
            source = (ROOT / file).read_text()
            parameters = {_option_of(name) for name in re.findall(r"\b([a-z_]+): ", source)}
            return [option for option in options if f'"{option}"' not in source and option not in parameters]
        case ["adapt", *_]:
            return [o for o in options if f'"{o}"' not in (ROOT / "examples" / "board" / "options.c").read_text()]
        case ["cmake" | "pip", *rest]:
            files = [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml", *ROOT.glob("cmake/*.cmake")]
            there = {word for file in files for word in re.findall(r"\w+", file.read_text())}
            text = " ".join(rest)
            options, extras = re.findall(r"SPARSEBP_\w+", text), re.findall(r"(?:\.|sparsebp)\[(\w+)\]", text)
            return [name for name in options + extras if name not in there]
    return []


def _of_ours(program: str, rest: list[str], options: list[str]) -> list[str]:
    path = [program]
    while rest and not rest[0].startswith("-") and rest[0] != "COMMAND":
        listed = re.findall(r"^ {2,4}([a-z]+)(?: |$)", help_of(*path), re.MULTILINE)
        if rest[0] not in listed:
            if len(path) == 1:
                return [rest[0]]
            break
        path.append(rest.pop(0))
    return [option for option in options if option not in re.findall(OPTION, help_of(*path))]
