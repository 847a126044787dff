"""Pictures of a load x temperature grid: measured quantities, phases, slices, curves, spectra."""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    error.add_note("figures need matplotlib; run `pip install 'landscape_fast[study]'`")
    raise

from landscape_fast.plots.curves import curve_profiles
from landscape_fast.plots.figures import panels, phase_map, save_panels, single_figures
from landscape_fast.plots.quantities import PANELS, Quantity
from landscape_fast.plots.slices import slices
from landscape_fast.plots.spectra import spectra

__all__ = [
    "PANELS",
    "Quantity",
    "curve_profiles",
    "panels",
    "phase_map",
    "save_panels",
    "single_figures",
    "slices",
    "spectra",
]
