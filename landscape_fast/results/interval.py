"""Confidence intervals of means of independent draws."""

from __future__ import annotations

import math

from landscape_fast.arguments import require_number


def half_width(stderr: float, level: float, freedom: float) -> float:
    """Half the width of Student's interval of the given ``level``.

    Args:
        stderr: Standard error.
        level: Probability to hold the mean.
        freedom: Degrees of freedom of ``stderr``; infinite where it is known.

    Raises:
        ValueError: ``level`` is not between 0 and 1.

    References:
        Student (1908), doi:10.1093/biomet/6.1.1.

    Example:
        >>> round(half_width(1.0, 0.95, math.inf), 3), round(half_width(1.0, 0.95, 3), 3)
        (1.96, 3.182)
    """
    require_number(above=0, below=1, level=level)
    if stderr == 0.0:
        return 0.0
    from scipy.stats import norm, t  # half a second that a result without draws does not need

    law = norm if math.isinf(freedom) else t(max(freedom, 1))
    return float(law.ppf(0.5 + level / 2.0)) * stderr
