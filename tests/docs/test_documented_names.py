"""Commands in the pages, in blocks, sentences and tables, name subcommands, options, targets and files that exist."""

from __future__ import annotations

from pathlib import Path

import documented
import pytest
from documented import PAGES, ROOT, Command
from documented_names import unknown

#: Pages whose commands are a developer's, or were run for results: they do not run in tests.
MORE = [ROOT / "CONTRIBUTING.md", ROOT / "RESULTS.md", ROOT / "bench" / "README.md"]


@pytest.mark.parametrize("page", [*PAGES, *MORE], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_in_a_command_is_known(page: Path) -> None:
    for command in [*documented.commands(page), *documented.mentioned(page)]:
        assert unknown(command) == [], str(command)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sparsebp finetune --data D --lr 0.1 --help", []),
        ("sparsebp finetune --date D --lr 0.1", ["--date"]),
        ("sparsebp fine-tune --data D", ["fine-tune"]),
        ("sparsebp-runtime delta apply BASE DELTA... --out NEW", []),
        ("sparsebp-runtime delta apply BASE DELTA --data NEW", ["--data"]),
        ("torchrun --nproc-per-node 2 -m sparsebp finetune --data D --timeout 9", []),
        ("torchrun --nproc-per-node 2 -m sparsebp finetune --date D", ["--date"]),
        ("torchrun --nproc-per-node 2 examples/data_parallels.py D", ["examples/data_parallels.py"]),
        ("make test lint", []),
        ("make tests", ["tests"]),
        ("python bench/memory.py", []),
        ("python bench/memories.py --plot P", ["bench/memories.py"]),
        ("python bench/reservoir.py --data D --nonsense", ["--nonsense"]),
        ("python examples/camera_folder.py pictures weights --size 129", []),
        ("adapt train plan out 4 train --thread 2", ["--thread"]),
        ("cmake -S . -DSPARSEBP_LIBARY=ON", ["SPARSEBP_LIBARY"]),
        ("pip install .[prunes]", ["prunes"]),
        ("--scope step", []),
        ("--scoop step", ["--scoop"]),
    ],
)
def test_names_that_are_not_there_are_found(words: str, expected: list[str]) -> None:
    assert unknown(Command(ROOT / "README.md", 1, tuple(words.split()))) == expected
