"""What a measurement returns: the value, the evidence for it, and nothing else.

Every class is a frozen dataclass. Counts mean the same everywhere: ``products`` is the number of
vectors that went through the operator, ``samples`` the number of data rows the answer is about.
"""

from landscape_fast.results.convergence import NotConverged
from landscape_fast.results.curvature import (
    CurvatureTransient,
    EigenvalueGap,
    GoldilocksZone,
    PlaneCurvature,
)
from landscape_fast.results.density import SpectralDensity, SpectralEstimate
from landscape_fast.results.diagonal import Diagonal
from landscape_fast.results.eigenpairs import Eigenpairs
from landscape_fast.results.estimate import Estimate
from landscape_fast.results.ggn_spectrum import GGNSpectrum
from landscape_fast.results.growth import Growth
from landscape_fast.results.hyperplanes import HyperplaneRun, IntrinsicDimension
from landscape_fast.results.instability import Instability
from landscape_fast.results.large_scale import (
    Connector,
    EnsembleGeometry,
    LowLossSimplex,
    RadialTunnel,
    TunnelTrend,
)
from landscape_fast.results.local import (
    GradientOverlap,
    NeuralCollapse,
    PerturbedLoss,
    SubspaceOverlap,
)
from landscape_fast.results.local_entropy import LocalEntropy
from landscape_fast.results.logit_geometry import Freezing, LogitClustering
from landscape_fast.results.models import Connectivity, Quality, Similarity, Training
from landscape_fast.results.norm import Norm
from landscape_fast.results.outliers import Outliers
from landscape_fast.results.pairs import Agreement, Barrier
from landscape_fast.results.permutations import Permutations
from landscape_fast.results.random_model import PredictedSpectrum, SimulatedSpectrum
from landscape_fast.results.scales import Plateau, PowerLaw, QuadraticRadius
from landscape_fast.results.stability import StabilityRun
from landscape_fast.results.surface import Surface
from landscape_fast.results.trace import Trace
from landscape_fast.results.track import TrackPoint

__all__ = [
    "Agreement",
    "Barrier",
    "Connectivity",
    "Connector",
    "CurvatureTransient",
    "Diagonal",
    "Eigenpairs",
    "EigenvalueGap",
    "EnsembleGeometry",
    "Estimate",
    "Freezing",
    "GGNSpectrum",
    "GoldilocksZone",
    "GradientOverlap",
    "Growth",
    "HyperplaneRun",
    "Instability",
    "IntrinsicDimension",
    "LocalEntropy",
    "LogitClustering",
    "LowLossSimplex",
    "NeuralCollapse",
    "Norm",
    "NotConverged",
    "Outliers",
    "Permutations",
    "PerturbedLoss",
    "PlaneCurvature",
    "Plateau",
    "PowerLaw",
    "PredictedSpectrum",
    "QuadraticRadius",
    "Quality",
    "RadialTunnel",
    "Similarity",
    "SimulatedSpectrum",
    "SpectralDensity",
    "SpectralEstimate",
    "StabilityRun",
    "SubspaceOverlap",
    "Surface",
    "Trace",
    "TrackPoint",
    "Training",
    "TunnelTrend",
]
