"""Lays the pages out for MkDocs: python scripts/docs_site.py FOLDER copies them, and what they link to, into FOLDER.

The pages keep their places, so that the links in them are right here, on a code host and in the site. `make docs` calls
this and then MkDocs, which reads mkdocs.yml.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "RESULTS.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md")]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
API = ROOT / "docs" / "api.md"


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for page in [*PAGES, *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text()
        place = folder / page.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(with_docstrings(text) if page == API else text)
        for link in LINK.findall(text):
            target = (page.parent / link).resolve()
            if target.is_file() and target.suffix != ".md":
                copy = folder / target.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(target, copy)


def with_docstrings(text: str) -> str:
    """Behind each module's table what mkdocstrings replaces by docstrings, to which the table's names lead."""
    sections, homes = re.split(r"(?m)^(?=## )", text), {}
    for at, section in enumerate(sections[1:], 1):
        module = section.split()[1]
        names = re.findall(r"(?m)^\| `(\w+)` \|", section)
        directives = "".join(f"::: {module}.{name}\n" for name in names if name not in homes)
        homes = {**dict.fromkeys(names, module), **homes}  # a name of two modules is told of once
        for name in names:
            section = section.replace(f"\n| `{name}` |", f"\n| [`{name}`][{homes[name]}.{name}] |")
        sections[at] = f"{section}\n{directives}\n"
    return "".join(sections)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
