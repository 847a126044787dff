"""Curves of how cost grows, one panel each, on logarithmic axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runs import ROOT, Measured, by_machine, origin

FIGURE = ROOT / "benchmarks" / "growth.png"
STYLES = {
    "ours": ("landscape_fast", "C0", "o-"),
    "kept": ("double backward, kept graph", "C1", "s--"),
    "rebuilt": ("double backward, rebuilt graph", "C3", "^--"),
    "PyHessian": ("PyHessian", "C3", "^--"),
    "bound": ("arithmetic of 2 gradients", "0.6", ":"),
}


def table(measured: list[Measured]) -> str:
    """The picture, and where its numbers come from; that of the first machine that has results."""
    own = next(iter(by_machine(measured).values()))
    return (
        f"{origin(own)}\n\n![Time per vector against width, batch and vectors, and of top "
        f"eigenvalues against their number]({FIGURE.name})\n"
    )


def draw(measured: list[Measured], path: Path = FIGURE) -> None:
    """Draw all curves of the first machine."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    own = next(iter(by_machine(measured).values()))
    curves = list(dict.fromkeys(one.extra["curve"] for one in own))
    figure, panels = plt.subplots(1, len(curves), figsize=(4.2 * len(curves), 3.9), squeeze=False)
    shown: dict[str, Any] = {}
    for axes, curve in zip(panels[0], curves, strict=True):
        points = [one for one in own if one.extra["curve"] == curve]
        seconds: dict[str, list[tuple[float, float]]] = {}
        for one in points:
            ours = one.seconds / one.extra["vectors"]
            x = one.extra["x"]
            seconds.setdefault("ours", []).append((x, ours))
            for rival, ratio in one.extra["ratios"].items():
                taken = ours / ratio["median"]
                name, scale = ("bound", 2.0) if rival == "gradient" else (rival, 1.0)
                seconds.setdefault(name, []).append((x, scale * taken))
        for name, (label, colour, line) in STYLES.items():
            if name in seconds:
                xs, ys = zip(*seconds[name], strict=True)
                axes.loglog(xs, ys, line, color=colour, label=label, lw=2, ms=6)
        ticks = sorted({one.extra["x"] for one in points})
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks], minor=False)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(curve, fontsize=12)
        per = "per vector" if any(one.extra["vectors"] > 1 for one in points) else "in all"
        axes.set_ylabel(f"seconds {per}", fontsize=12)
        axes.grid(alpha=0.3, which="both")
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    figure.legend(shown.values(), shown.keys(), loc="upper center", ncols=len(shown), fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
