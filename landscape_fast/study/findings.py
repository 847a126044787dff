"""The findings of Yang et al. (2021) as questions to a grid of cells.

Every function takes the cells and returns a :class:`~landscape_fast.study.evidence.Finding`: an
effect, an interval and a verdict, which is "cannot tell" wherever the grid lacks the cells that the
question needs. Numbers follow docs/findings.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.study.evidence import Evidence, Finding
from landscape_fast.study.knob_claims import (
    clean_labels_connect,
    data_make_similar,
    data_need_width,
    noise_hides_from_sharpness,
    width_connects,
)
from landscape_fast.study.metric_claims import distance_informs_less, order_without_test_data
from landscape_fast.study.phase_claims import (
    accuracy_at_equal_sharpness,
    accuracy_before_fit,
    best_accuracy,
    dip_at_transition,
)
from landscape_fast.study.table import column, columns_of

#: One question for each claim, in the order of docs/findings.md.
QUESTIONS: tuple[Callable[[Evidence], Finding], ...] = (
    best_accuracy,
    accuracy_at_equal_sharpness,
    noise_hides_from_sharpness,
    accuracy_before_fit,
    width_connects,
    data_make_similar,
    data_need_width,
    clean_labels_connect,
    dip_at_transition,
    distance_informs_less,
    order_without_test_data,
)


def findings(
    table: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    settings: Mapping[str, Any] | None = None,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> list[Finding]:
    """Ask a classified grid about every finding of the paper.

    Args:
        table: From :func:`~landscape_fast.study.taxonomy.classify`; columns as in the published
            measurements. What is missing answers "cannot tell".
        load: Column of the load-like knob.
        temperature: Column of the temperature-like knob.
        settings: Knobs that are the same in all cells and are no columns, such as
            ``{"label_noise": 0.1}``. Without ``label_noise`` labels count as clean.
        level: Of the intervals.
        replicates: Of the bootstraps.
        seed: Of their draws.

    Returns:
        One finding for each question, in the order of the paper's claims.

    Raises:
        ValueError: A knob or ``phase`` is missing, ``level`` is not between 0 and 1, or
            ``replicates`` is below 1.

    References:
        Yang et al. (2021), arXiv:2107.11228.

    Example:
        >>> cells = {"width": [2, 64], "batch_size": [128, 128], "phase": ["I", "IV-B"]}
        >>> {finding.verdict for finding in findings(cells)}
        {'cannot tell'}
    """
    require_number(above=0, below=1, level=level)
    require_whole(1, replicates=replicates)
    require_seed(seed)
    if settings is not None and not isinstance(settings, Mapping):
        raise TypeError(f"settings must be a mapping, got {type(settings).__name__}")
    columns = columns_of(table)
    for name, argument in ((load, "load"), (temperature, "temperature"), ("phase", "table")):
        column(columns, name, argument=argument)
    given = {"label_noise": 0.0, **(settings or {})}
    evidence = Evidence(columns, load, temperature, given, level, replicates, seed)
    return [question(evidence) for question in QUESTIONS]
