"""Pictures of a load x temperature grid: the measured quantities and the phase map."""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    error.add_note("figures need matplotlib; run `pip install 'landscape_fast[study]'`")
    raise

from landscape_fast.plots.figures import panels, phase_map, save_panels
from landscape_fast.plots.quantities import PANELS, Quantity

__all__ = ["PANELS", "Quantity", "panels", "phase_map", "save_panels"]
