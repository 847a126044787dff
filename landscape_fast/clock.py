"""The one place that reads the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def seconds() -> float:
    """Monotonic seconds from an arbitrary start; differences are durations."""
    return time.perf_counter()


def timestamp() -> str:
    """Time of day in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
