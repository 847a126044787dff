"""What every figure starts from: a canvas of its own, and matplotlib's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def blank_figure(width: float, height: float) -> Figure:
    """An empty white figure of this size in inches, with a canvas of its own."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's defaults in place of the user's settings, which are put back."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["svg.hashsalt"] = "landscape_fast"
        matplotlib.rcParams["hatch.linewidth"] = 0.6
        yield
