"""The picture of a principal component analysis: how much each component explains, and where the samples lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

Array = NDArray[Any]

SHOWN = 20
POINTS = 5000
LONGEST_TITLE = 90
KEPT, LEFT_OUT, LINE, INK, GRID = "#2f6f9f", "#c3d3df", "#d9822b", "#2b2f36", "#e6e9ee"


def draw(path: Path, *, title: str, ratio: Array, bounds: Array | None, kept: int, scores: Array) -> None:
    """Write a PNG file.

    Args:
        path: the file.
        title: name of the dataset.
        ratio: share of the variance of every component, (r,).
        bounds: lower and upper bound of each share, (2, r), or None.
        kept: how many components were asked for; they are drawn darker.
        scores: the samples along the first one or two of them, (n, 1) or (n, 2).
    """
    figure = Figure(figsize=(10, 4.4), dpi=130, layout="constrained")
    figure.set_facecolor("white")
    shares, samples = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_shares(shares, ratio, bounds, kept)
    _draw_samples(samples, scores, ratio)
    # A file name may hold "$", which must not be read as a formula.
    shown = title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}…"
    figure.suptitle(shown, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK, parse_math=False)
    # Neither the time nor the version is written into the file: the same data gives the same bytes.
    figure.savefig(path, metadata={"Software": None})


def _draw_shares(axes: Axes, ratio: Array, bounds: Array | None, kept: int) -> None:
    count = min(len(ratio), SHOWN)
    number, share = np.arange(1, count + 1), ratio[:count]
    _prepare(axes, "Explained variance")
    axes.bar(number, share, width=0.72, color=[KEPT if n <= kept else LEFT_OUT for n in number], zorder=2)
    axes.plot(number, np.cumsum(share), color=LINE, marker="o", markersize=3.5, linewidth=1.4, zorder=4)
    if bounds is not None:
        error = np.abs(bounds[:, :count] - share)
        axes.errorbar(number, share, yerr=error, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2.5, zorder=3)
    together = float(np.sum(ratio[:kept]))
    if kept <= count:
        axes.annotate(
            f"{together:.1%} with {kept}",
            (kept, together),
            xytext=(8, -14),
            textcoords="offset points",
            color=LINE,
            fontsize=9,
            fontweight="bold",
        )
    more = f" (first {count} of {len(ratio)})" if len(ratio) > count else ""
    axes.set_xlabel(f"component{more}", color=INK)
    axes.set_ylabel("share of the variance", color=INK)
    axes.set_ylim(0, 1.06)
    axes.set_xlim(0.4, count + 0.6)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.plot([], [], color=LINE, marker="o", markersize=3.5, linewidth=1.4, label="cumulative")
    axes.bar([1], [0], color=KEPT, label="kept" + ("" if bounds is None else ", with 95 % interval"))
    axes.legend(loc="center right", frameon=False, fontsize=9)


def _draw_samples(axes: Axes, scores: Array, ratio: Array) -> None:
    _prepare(axes, "Samples along the first components" if scores.shape[1] > 1 else "Samples along the component")
    step = max(1, -(-len(scores) // POINTS))
    shown = scores[::step].real
    alpha = float(np.clip(60 / np.sqrt(len(shown)), 0.15, 0.85))
    axes.set_xlabel(f"component 1 ({ratio[0]:.1%})", color=INK)
    if scores.shape[1] > 1:
        axes.scatter(shown[:, 0], shown[:, 1], s=14, color=KEPT, alpha=alpha, linewidths=0, zorder=2)
        axes.set_ylabel(f"component 2 ({ratio[1]:.1%})", color=INK)
        axes.axhline(0, color=GRID, linewidth=1, zorder=1)
    else:
        axes.hist(shown[:, 0], bins=min(40, max(5, len(shown) // 5)), color=KEPT, zorder=2)
        axes.set_ylabel("samples", color=INK)
    axes.axvline(0, color=GRID, linewidth=1, zorder=1)


def _prepare(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#9aa3ad")
