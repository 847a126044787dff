"""Loss landscapes of trained networks: spectra, connectivity, similarity, phases.

Local shape of one model, global structure between models, and the phase of a cell of models, each
number with the evidence for it. Loaders are iterables of batches; models come back untouched.
"""

from __future__ import annotations

from importlib.metadata import version as _version

from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.metrics.sharpness import spectral_density, top_eigs, trace
from landscape_fast.results import (
    Connectivity,
    Eigenpairs,
    NotConverged,
    Quality,
    Similarity,
    SpectralDensity,
    Trace,
)

__version__ = _version("landscape_fast")

__all__ = [
    "Connectivity",
    "Eigenpairs",
    "HessianOperator",
    "NotConverged",
    "Quality",
    "Similarity",
    "SpectralDensity",
    "Trace",
    "spectral_density",
    "top_eigs",
    "trace",
]
