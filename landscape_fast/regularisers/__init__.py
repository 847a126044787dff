"""Penalties on curvature that can be differentiated, for use inside a training loop.

They cost as much as a measurement that is differentiated once more, and measure a mini-batch: for
the curvature of the whole data see :func:`landscape_fast.trace` and
:func:`landscape_fast.top_eigs`.
"""

from landscape_fast.regularisers.curvature import hessian_trace, top_eigenvalue
from landscape_fast.regularisers.forward_pass import differentiable_twice
from landscape_fast.regularisers.local_entropy import local_entropy

__all__ = ["differentiable_twice", "hessian_trace", "local_entropy", "top_eigenvalue"]
