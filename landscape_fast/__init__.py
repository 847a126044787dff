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
    from landscape_fast.large_scale.connector import connector
    from landscape_fast.large_scale.ensembles import ensemble_geometry
    from landscape_fast.large_scale.simplexes import low_loss_simplex
    from landscape_fast.large_scale.tunnels import radial_tunnel, tunnel_trend
    from landscape_fast.linearise.fisher import EmpiricalFisherOperator
    from landscape_fast.linearise.gauss_newton import GGNOperator
    from landscape_fast.linearise.operators import HessianOperator
    from landscape_fast.local_geometry.clustering import logit_clustering
    from landscape_fast.local_geometry.freezing import probability_freezing
    from landscape_fast.local_geometry.goldilocks import goldilocks_zone, plane_curvature
    from landscape_fast.local_geometry.hyperplanes import hyperplane_training, intrinsic_dimension
    from landscape_fast.metrics.connectivity import connectivity
    from landscape_fast.metrics.density import spectral_density
    from landscape_fast.metrics.diagonal import diagonal
    from landscape_fast.metrics.distance import l2_distance
    from landscape_fast.metrics.frobenius import frobenius_norm
    from landscape_fast.metrics.ggn_spectrum import ggn_spectrum
    from landscape_fast.metrics.langevin_entropy import langevin_local_entropy
    from landscape_fast.metrics.line import linear_barrier
    from landscape_fast.metrics.neural_collapse import neural_collapse
    from landscape_fast.metrics.overlap import gradient_overlap, subspace_overlap
    from landscape_fast.metrics.perturbation import average_sharpness, worst_case_sharpness
    from landscape_fast.metrics.predictions import agreement, ensemble_quality
    from landscape_fast.metrics.quadratic_entropy import quadratic_local_entropy
    from landscape_fast.metrics.quality import quality
    from landscape_fast.metrics.sharpness import top_eigs
    from landscape_fast.metrics.similarity import cka
    from landscape_fast.metrics.trace import trace
    from landscape_fast.metrics.track import Tracker
    from landscape_fast.multiscale.growth import loss_growth
    from landscape_fast.multiscale.stability import edge_of_stability, stability_threshold
    from landscape_fast.paths.elastic_band import autoneb
    from landscape_fast.paths.instability import instability
    from landscape_fast.results import (
        Agreement,
        Barrier,
        Connectivity,
        Connector,
        Diagonal,
        Eigenpairs,
        EnsembleGeometry,
        Estimate,
        Freezing,
        GGNSpectrum,
        GoldilocksZone,
        GradientOverlap,
        Growth,
        HyperplaneRun,
        Instability,
        IntrinsicDimension,
        LocalEntropy,
        LogitClustering,
        LowLossSimplex,
        NeuralCollapse,
        Norm,
        NotConverged,
        Permutations,
        PerturbedLoss,
        PlaneCurvature,
        Quality,
        RadialTunnel,
        Similarity,
        SpectralDensity,
        StabilityRun,
        SubspaceOverlap,
        Surface,
        Trace,
        TrackPoint,
        TunnelTrend,
    )
    from landscape_fast.study.findings import findings
    from landscape_fast.study.taxonomy import classify
    from landscape_fast.surfaces.surface import loss_surface

    __version__: str

__all__ = [
    "Agreement",
    "Barrier",
    "Connectivity",
    "Connector",
    "Diagonal",
    "Eigenpairs",
    "EmpiricalFisherOperator",
    "EnsembleGeometry",
    "Estimate",
    "Freezing",
    "GGNOperator",
    "GGNSpectrum",
    "GoldilocksZone",
    "GradientOverlap",
    "Growth",
    "HessianOperator",
    "HyperplaneRun",
    "Instability",
    "IntrinsicDimension",
    "LocalEntropy",
    "LogitClustering",
    "LowLossSimplex",
    "NeuralCollapse",
    "Norm",
    "NotConverged",
    "Permutations",
    "PerturbedLoss",
    "PlaneCurvature",
    "Quality",
    "RadialTunnel",
    "Similarity",
    "SpectralDensity",
    "StabilityRun",
    "SubspaceOverlap",
    "Surface",
    "Trace",
    "TrackPoint",
    "Tracker",
    "TunnelTrend",
    "agreement",
    "align",
    "as_operator",
    "autoneb",
    "average_sharpness",
    "cka",
    "classify",
    "connectivity",
    "connector",
    "diagonal",
    "edge_of_stability",
    "ensemble_geometry",
    "ensemble_quality",
    "findings",
    "frobenius_norm",
    "ggn_spectrum",
    "goldilocks_zone",
    "gradient_overlap",
    "hutchpp",
    "hyperplane_training",
    "instability",
    "interpolated",
    "intrinsic_dimension",
    "l2_distance",
    "langevin_local_entropy",
    "linear_barrier",
    "logit_clustering",
    "loss_growth",
    "loss_surface",
    "low_loss_simplex",
    "neural_collapse",
    "plane_curvature",
    "probability_freezing",
    "quadratic_local_entropy",
    "quality",
    "radial_tunnel",
    "spectral_density",
    "stability_threshold",
    "subspace_overlap",
    "top_eigs",
    "trace",
    "tunnel_trend",
    "worst_case_sharpness",
    "xtrace",
]

_HOMES = {
    "autoneb": "paths.elastic_band",
    "instability": "paths.instability",
    "langevin_local_entropy": "metrics.langevin_entropy",
    "quadratic_local_entropy": "metrics.quadratic_entropy",
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
    "goldilocks_zone": "local_geometry.goldilocks",
    "hyperplane_training": "local_geometry.hyperplanes",
    "intrinsic_dimension": "local_geometry.hyperplanes",
    "l2_distance": "metrics.distance",
    "logit_clustering": "local_geometry.clustering",
    "plane_curvature": "local_geometry.goldilocks",
    "probability_freezing": "local_geometry.freezing",
    "loss_surface": "surfaces.surface",
    "connector": "large_scale.connector",
    "ensemble_geometry": "large_scale.ensembles",
    "low_loss_simplex": "large_scale.simplexes",
    "radial_tunnel": "large_scale.tunnels",
    "tunnel_trend": "large_scale.tunnels",
    "linear_barrier": "metrics.line",
    "edge_of_stability": "multiscale.stability",
    "loss_growth": "multiscale.growth",
    "quality": "metrics.quality",
    "stability_threshold": "multiscale.stability",
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
