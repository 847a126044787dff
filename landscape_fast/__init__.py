"""Loss landscapes of trained networks: spectra, connectivity, similarity, phases.

Local shape of one model, global structure between models, and the phase of a cell of models, each
number with the evidence for it. Loaders are iterables of batches; models come back untouched.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape_fast.alignment.align import align
    from landscape_fast.alignment.repair import interpolated
    from landscape_fast.krylov.adapter import as_operator
    from landscape_fast.krylov.hutchpp import hutchpp
    from landscape_fast.krylov.xtrace import xtrace
    from landscape_fast.linearise.fisher import EmpiricalFisherOperator
    from landscape_fast.linearise.gauss_newton import GGNOperator
    from landscape_fast.linearise.operators import HessianOperator
    from landscape_fast.metrics.connectivity import connectivity
    from landscape_fast.metrics.density import spectral_density
    from landscape_fast.metrics.diagonal import diagonal
    from landscape_fast.metrics.distance import l2_distance
    from landscape_fast.metrics.frobenius import frobenius_norm
    from landscape_fast.metrics.ggn_spectrum import ggn_spectrum
    from landscape_fast.metrics.line import linear_barrier
    from landscape_fast.metrics.neural_collapse import neural_collapse
    from landscape_fast.metrics.overlap import gradient_overlap, subspace_overlap
    from landscape_fast.metrics.perturbation import average_sharpness, worst_case_sharpness
    from landscape_fast.metrics.predictions import agreement, ensemble_quality
    from landscape_fast.metrics.quality import quality
    from landscape_fast.metrics.sharpness import top_eigs
    from landscape_fast.metrics.similarity import cka
    from landscape_fast.metrics.trace import trace
    from landscape_fast.metrics.track import Tracker
    from landscape_fast.results import (
        Agreement,
        Barrier,
        Connectivity,
        Diagonal,
        Eigenpairs,
        Estimate,
        GGNSpectrum,
        GradientOverlap,
        NeuralCollapse,
        Norm,
        NotConverged,
        Permutations,
        PerturbedLoss,
        Quality,
        Similarity,
        SpectralDensity,
        SubspaceOverlap,
        Surface,
        Trace,
        TrackPoint,
    )
    from landscape_fast.study.findings import findings
    from landscape_fast.study.taxonomy import classify
    from landscape_fast.surfaces.surface import loss_surface

    __version__: str

__all__ = [
    "Agreement",
    "Barrier",
    "Connectivity",
    "Diagonal",
    "Eigenpairs",
    "EmpiricalFisherOperator",
    "Estimate",
    "GGNOperator",
    "GGNSpectrum",
    "GradientOverlap",
    "HessianOperator",
    "NeuralCollapse",
    "Norm",
    "NotConverged",
    "Permutations",
    "PerturbedLoss",
    "Quality",
    "Similarity",
    "SpectralDensity",
    "SubspaceOverlap",
    "Surface",
    "Trace",
    "TrackPoint",
    "Tracker",
    "agreement",
    "align",
    "as_operator",
    "average_sharpness",
    "cka",
    "classify",
    "connectivity",
    "diagonal",
    "ensemble_quality",
    "findings",
    "frobenius_norm",
    "ggn_spectrum",
    "gradient_overlap",
    "hutchpp",
    "interpolated",
    "l2_distance",
    "linear_barrier",
    "loss_surface",
    "neural_collapse",
    "quality",
    "spectral_density",
    "subspace_overlap",
    "top_eigs",
    "trace",
    "worst_case_sharpness",
    "xtrace",
]

_HOMES = {
    "average_sharpness": "metrics.perturbation",
    "worst_case_sharpness": "metrics.perturbation",
    "gradient_overlap": "metrics.overlap",
    "subspace_overlap": "metrics.overlap",
    "neural_collapse": "metrics.neural_collapse",
    "EmpiricalFisherOperator": "linearise.fisher",
    "GGNOperator": "linearise.gauss_newton",
    "HessianOperator": "linearise.operators",
    "Tracker": "metrics.track",
    "agreement": "metrics.predictions",
    "align": "alignment.align",
    "as_operator": "krylov.adapter",
    "cka": "metrics.similarity",
    "classify": "study.taxonomy",
    "connectivity": "metrics.connectivity",
    "diagonal": "metrics.diagonal",
    "ensemble_quality": "metrics.predictions",
    "findings": "study.findings",
    "ggn_spectrum": "metrics.ggn_spectrum",
    "hutchpp": "krylov.hutchpp",
    "interpolated": "alignment.repair",
    "frobenius_norm": "metrics.frobenius",
    "l2_distance": "metrics.distance",
    "loss_surface": "surfaces.surface",
    "linear_barrier": "metrics.line",
    "quality": "metrics.quality",
    "spectral_density": "metrics.density",
    "top_eigs": "metrics.sharpness",
    "trace": "metrics.trace",
    "xtrace": "krylov.xtrace",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line's help needs no torch."""
    if name == "__version__":
        return import_module("importlib.metadata").version("landscape_fast")
    if name not in __all__:
        raise AttributeError(f"module 'landscape_fast' has no attribute {name!r}")
    value = getattr(import_module(f"landscape_fast.{_HOMES.get(name, 'results')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__, "__version__"]
