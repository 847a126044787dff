"""Loss landscapes of trained networks: spectra, connectivity, similarity, phases.

Local shape of one model, global structure between models, and the phase of a cell of models, each
number with the evidence for it. Loaders are iterables of batches; models come back untouched.
"""

from __future__ import annotations

from importlib.metadata import version as _version

from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.metrics.connectivity import connectivity
from landscape_fast.metrics.distance import l2_distance
from landscape_fast.metrics.quality import quality
from landscape_fast.metrics.sharpness import spectral_density, top_eigs, trace
from landscape_fast.metrics.similarity import cka
from landscape_fast.results import (
    Connectivity,
    Eigenpairs,
    NotConverged,
    Quality,
    Similarity,
    SpectralDensity,
    Trace,
)
from landscape_fast.study.taxonomy import classify

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
    "cka",
    "classify",
    "connectivity",
    "l2_distance",
    "quality",
    "spectral_density",
    "top_eigs",
    "trace",
]
