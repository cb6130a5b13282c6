"""Pictures of plans and of training runs; they need the optional extra ``plot`` (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import check_writable
from ..planning.plan import Plan
from ..planning.plan_parts import CATEGORIES, CATEGORY_NAMES
from ..planning.timeline import Moment, timeline
from ..units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: One colour for each kind of memory, everywhere: Okabe and Ito's, which colour-blind people tell apart.
COLOURS = {
    "saved": "#0072B2",
    "masks": "#56B4E9",
    "gradients": "#E69F00",
    "weight_gradients": "#CC79A7",
    "optimizer": "#009E73",
    "scratch": "#BBBBBB",
    "sampler": "#D55E00",
    "activations": "#F0E442",
    "pictures": "#555555",
}
_SIZE = (10.0, 5.2)
"""Inches; a page's width."""
DPI = 150
"""Dots an inch."""
_MOST_LABELS = 60
"""Names below the picture that stay apart at its size."""
_LONGEST_LABEL = 24
"""Characters of a name below the picture; of a longer one its end, which tells it from others."""
_HEADROOM = 1.12
"""Height of the picture over the highest thing drawn: room for a label."""
_HIGHEST_BUDGET = 2.5
"""A budget more than so many times the peak would squeeze the picture; it is written, not drawn."""


def require_matplotlib() -> None:
    """Checks that pictures can be drawn.

    Raises:
        ImportError: matplotlib is not installed; the message says how to install it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError("a plot needs matplotlib: pip install 'sparsebp[plot]'") from error


def check_plot_file(file: Path) -> None:
    """Checks, before any long work, that a picture can be written to ``file``.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib cannot write files of this name's extension.
        OSError: there is no such folder, it cannot be written to, or ``file`` is a folder.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = sorted(FigureCanvasAgg.get_supported_filetypes().keys() - {"pgf"})  # which needs LaTeX
    if file.suffix.lower().removeprefix(".") not in kinds:
        raise ValueError(f"plot: expected a file name that ends in .{', .'.join(kinds)}, got {str(file)!r}")
    check_writable(file, "plot")


def plot_memory(plan: Plan, file: Path) -> None:
    """Draws the training memory over the moments of one step, stacked by kind, below the budget."""
    figure = new_figure()
    axes = figure.add_subplot()
    shown = timeline(plan)
    _stack(axes, plan, shown)
    _limits(axes, plan, shown)
    _name_moments(axes, shown)
    size = "x".join(map(str, plan.input_size[1:]))
    what = "Memory" if plan.whole_step else "Training memory"
    axes.set_title(
        f"{what} over one step: input {size}, batch {plan.batch_size}, budget {_short_bytes(plan.budget)}",
        loc="left",
        fontsize=11,
        pad=20,
    )
    figure.savefig(file, dpi=DPI)


def plot_curves(
    losses: Sequence[tuple[float, float]], accuracies: Sequence[tuple[int, float]], file: Path, title: str = ""
) -> None:
    """Draws how a run went: the training loss above, the test accuracy below, over the same epochs.

    Args:
        losses: (epochs done, smoothed training loss).
        accuracies: (epoch, test accuracy in [0, 1]).
        file: to write.
        title: above the picture.
    """
    figure = new_figure()
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes in (upper, lower):
        axes.margins(y=0.12)
    marker = "o" if len(losses) < 2 else None
    upper.plot([e for e, _ in losses], [loss for _, loss in losses], color=COLOURS["saved"], marker=marker)
    upper.set_ylabel("training loss, smoothed")
    epochs = [e for e, _ in accuracies]
    percent = [100 * a for _, a in accuracies]
    lower.plot(epochs, percent, color=COLOURS["scratch"], zorder=1)
    lower.plot(epochs, percent, color=COLOURS["sampler"], marker="o", linestyle="none", markersize=5)
    lower.set_ylabel("test accuracy, %")
    lower.set_xlabel("epoch")
    lower.xaxis.get_major_locator().set_params(integer=True)
    lower.set_xlim(0, 1.02 * max([1, *epochs, *(e for e, _ in losses)]))
    upper.set_ylim(*(None, None) if losses else (0, 1))
    lower.set_ylim(*(None, None) if percent else (0, 100))
    if accuracies:
        best = max(accuracies, key=lambda pair: pair[1])
        text = f"last {accuracies[-1][1]:.2%}, best {best[1]:.2%} after epoch {best[0]}"
        lower.set_title(text, loc="left", fontsize=9)
    for axes in (upper, lower):
        _plain(axes)
        axes.grid(color="0.9")
    figure.align_ylabels()
    if title:
        upper.set_title(title, loc="left", fontsize=11)
    figure.savefig(file, dpi=DPI)


def new_figure(width: float = _SIZE[0], height: float = _SIZE[1]) -> Figure:
    """An empty picture, of so many inches."""
    require_matplotlib()
    from matplotlib.figure import Figure  # not pyplot: the backend that the user set stays as it is

    return Figure(figsize=(width, height), layout="constrained")


def shortened(name: str) -> str:
    """A label of at most :data:`_LONGEST_LABEL` characters."""
    return name if len(name) <= _LONGEST_LABEL else f"...{name[3 - _LONGEST_LABEL :]}"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def _stack(axes: Axes, plan: Plan, shown: Sequence[Moment]) -> None:
    edges = [*(i - 0.5 for i in range(len(shown) + 1))]
    below = [0.0] * len(edges)
    for category in CATEGORIES:
        heights = [float(m.bytes[category]) for m in shown]
        if not any(heights):
            continue
        top = [b + h for b, h in zip(below, [*heights, heights[-1]], strict=True)]
        name = CATEGORY_NAMES.get(category, category)
        axes.fill_between(edges, below, top, step="post", color=COLOURS[category], linewidth=0, label=name)
        below = top
    axes.set_xlim(edges[0], edges[-1])
    handles, labels = axes.get_legend_handles_labels()
    # From top to bottom, as they lie on each other.
    axes.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def _limits(axes: Axes, plan: Plan, shown: Sequence[Moment]) -> None:
    """The budget and the peak."""
    drawn = plan.budget <= _HIGHEST_BUDGET * plan.peak_bytes
    height = plan.budget if drawn else plan.peak_bytes
    axes.set_ylim(0, _HEADROOM * height)
    _mark_peak(axes, plan, shown, height)
    if drawn:
        axes.axhline(plan.budget, color="black", linestyle="--", linewidth=1.2)
        axes.annotate(
            f"budget {plan.budget:,} bytes",
            (-0.5 + 0.02 * len(shown), plan.budget),
            xytext=(0, 7),
            textcoords="offset points",
            fontsize=9,
        )
    axes.yaxis.set_major_formatter(lambda value, _: _short_bytes(int(value)) if value else "0")
    unit = 1 << max(0, (int(height).bit_length() - 3))
    axes.set_yticks([unit * i for i in range(int(1.05 * height / unit) + 1)])
    axes.grid(axis="y", color="0.9")
    _plain(axes)


def _mark_peak(axes: Axes, plan: Plan, shown: Sequence[Moment], height: int) -> None:
    """Its label stands above the bars, and above the line of a budget that is just above them."""
    at = max(range(len(shown)), key=lambda i: shown[i].total)
    side = "right" if at > 0.9 * len(shown) else "left" if at < 0.1 * len(shown) else "center"
    close = height > plan.peak_bytes > 0.92 * height
    axes.plot([at], [plan.peak_bytes], marker=7, color="black", markersize=8, clip_on=False)  # 7: tip at the point
    axes.annotate(
        f"peak {plan.peak_bytes:,} bytes",
        (at, height if close else plan.peak_bytes),
        xytext=(0, 7 if close else 10),
        textcoords="offset points",
        ha=side,
        fontsize=9,
    )


def _name_moments(axes: Axes, shown: Sequence[Moment]) -> None:
    every = -(-len(shown) // _MOST_LABELS)
    ticks = [i for i, m in enumerate(shown) if m.name and i % every == 0]
    axes.set_xticks(ticks, [shortened(shown[i].name) for i in ticks], rotation=90, fontsize=7)
    axes.tick_params(axis="x", length=2)
    turn = sum(m.forward for m in shown)
    axes.axvline(turn - 0.5, ymax=1 / _HEADROOM, color="0.5", linewidth=0.8)
    for begin, end, name in ((0, turn, "forward"), (turn, len(shown), "backward and update")):
        axes.annotate(
            name,
            ((begin + end) / 2 - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color="0.3",
        )


def _short_bytes(count: int) -> str:
    return format_bytes(count).replace(".0 ", " ")
