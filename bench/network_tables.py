"""How the networks' table looks in a terminal and in docs/networks.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from sparsebp.cli.console import table

Row = dict[str, Any]
HEADINGS = (
    *(
        "network",
        "source",
        "input",
        "native / all",
        "smallest budget",
        "256 KB trains",
        "1 MB trains",
        "ms",
        "torch, ms",
    ),
    *("peak = plan", "error", "what only torch runs, or the refusal"),
)
BEGIN = "<!-- python bench/networks.py --markdown docs/networks.md writes what follows -->"
LONGEST = 300
"""Characters of a reason; what is behind them says only more of the same."""
NUMBERS = 8


def cells(name: str, row: Row) -> list[str]:
    """One network's line."""
    source, _, kind = name.partition(".")
    if "failed" in row:
        return [kind, source, *[""] * NUMBERS, "", f"failed: {row['failed']}"[:LONGEST]]
    size = "x".join(map(str, row["input_size"]))
    native = f"{row['native']} / {row['layers']}"
    why = row["why"] if len(row["why"]) <= LONGEST else row["why"][:LONGEST].rsplit(" ", 1)[0] + " ..."
    if row["smallest"] is None:
        return [kind, source, size, native, *[""] * (NUMBERS - 1), why]
    return [
        kind,
        source,
        size,
        native,
        f"{row['smallest']:,}",
        *(_trained(t) for t in row["trained"]),
        f"{row['sparse_ms']['median']:.1f}",
        f"{row['torch_ms']['median']:.1f}",
        "yes" if row["predicted"] == row["measured"] else f"{row['measured']:,}, not {row['predicted']:,}",
        f"{row['error']:.0e}",
        why,
    ]


def _trained(trained: Row) -> str:
    """``12 from layer4, 1.9 %``."""
    if not trained["layers"]:
        return "-"
    return f"{trained['layers']} from {trained['first']}, {trained['update_ratio']:.1%}".replace("%", " %")


def summary(rows: Mapping[str, Row]) -> str:
    """How many networks are native, as a sentence."""
    measured = [row for row in rows.values() if "failed" not in row]
    whole = sum(row["layers"] > 0 and row["native"] == row["layers"] for row in measured)
    stem = sum(row["layers"] > 0 and 0 < row["layers"] - row["native"] <= 1 for row in measured)
    some = sum(0 < row["native"] < row["layers"] - 1 for row in measured)
    rest = len(rows) - whole - stem - some
    return (
        f"Of {len(rows)} networks {whole} run wholly natively, {stem} all but one layer, {some} in part; "
        f"{rest} are refused."
    )


def terminal_table(rows: Mapping[str, Row]) -> Table:
    """All columns, and the summary above."""
    made = table(summary(rows), *HEADINGS, right=0)
    for name, row in rows.items():
        made.add_row(*cells(name, row))
    return made


def markdown(rows: Mapping[str, Row], file: Path) -> None:
    """Replaces what stands behind ``BEGIN`` in a file, or behind everything."""
    before = file.read_text().partition(BEGIN)[0] if file.exists() else ""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    for name, row in rows.items():
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells(name, row)) + " |")
    file.write_text("\n".join([before.rstrip(), "", BEGIN, "", summary(rows), "", *lines, ""]))
