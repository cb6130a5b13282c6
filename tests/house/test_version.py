"""The version is written once; everything else reads it there."""

from __future__ import annotations

import re
from pathlib import Path

import sparsebp
from sparsebp import _C

ROOT = Path(__file__).parents[2]


def test_the_native_module_has_the_package_s_version() -> None:
    """CMake reads it of version.py; so do the metadata of both wheels."""
    assert _C.__version__ == sparsebp.__version__
    for project in (ROOT / "pyproject.toml", ROOT / "python" / "sparsebp-runtime" / "pyproject.toml"):
        text = project.read_text()
        assert 'dynamic = ["version"]' in text
        assert re.search(r'^metadata.version.input = ".*sparsebp/version.py"$', text, re.MULTILINE)


def test_the_changelog_begins_with_it() -> None:
    releases = re.findall(r"^## \[(.+?)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == sparsebp.__version__
    assert releases == sorted(releases, key=lambda release: [int(part) for part in release.split(".")], reverse=True)
