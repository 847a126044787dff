"""Figures as text that a page can hold."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from matplotlib.figure import Figure

from landscape_fast.plots.canvas import own_style

_DPI = 130
_FORMATS = {
    "svg": ("image/svg+xml", {"Date": None}),
    "png": ("image/png", {"Software": None}),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure of a page."""

    name: str
    alt: str  # its title
    caption: str
    uri: str  # data:image/...;base64,...
    wide: bool  # takes the whole width of the page


def picture(name: str, figure: Figure, caption: str, *, wide: bool) -> Picture:
    """Embed a figure as SVG or PNG, whichever is smaller."""
    versions = [_encoded(figure, ending) for ending in _FORMATS]
    titles = [axes.get_title().replace("\n", ": ") for axes in figure.axes]
    alt = next((title for title in titles if title), name)
    return Picture(name, alt, caption, min(versions, key=len), wide)


def _encoded(figure: Figure, ending: str) -> str:
    kind, undated = _FORMATS[ending]
    content = io.BytesIO()
    with own_style():
        figure.savefig(content, format=ending, dpi=_DPI, metadata=undated)
    return f"data:{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
